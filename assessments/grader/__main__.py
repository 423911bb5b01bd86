"""A worker: `python -P -m assessments.grader WORK [SLOT]`."""

import sys

from assessments.grader.worker import main

sys.exit(main())
