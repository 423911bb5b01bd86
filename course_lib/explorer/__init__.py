"""The planner as a widget for notebooks: `explorer()` shows what a layout costs as sliders move."""

from course_lib.explorer.widget import explorer

__all__ = ["explorer"]
