// The trace viewer was written for custom elements "version 0", which browsers have since dropped.
// This is as much of them as its framework (Polymer 1) needs: document.registerElement, the life
// cycle of elements, and window.CustomElements, by which Polymer knows that they are not native and
// keeps to the ordinary DOM. HTML imports, the other thing that browsers dropped, are not needed:
// the server puts the imported page in the importing one (tensorboard_plugin.py).
(() => {
  "use strict";

  const definitions = new Map(); // by tag name, or by what `is` says
  const definitionOf = (element) =>
    definitions.get(element.getAttribute("is") || element.localName) ||
    definitions.get(element.localName);

  // Make an element what its definition says, once; tell it when it is in the document.
  function upgrade(element) {
    if (element.nodeType !== Node.ELEMENT_NODE || element.__upgraded__) return;
    const definition = definitionOf(element);
    if (!definition || (definition.extends && definition.extends !== element.localName)) return;
    Object.setPrototypeOf(element, definition.prototype);
    element.__upgraded__ = true;
    element.createdCallback?.();
    attach(element);
  }

  function attach(element) {
    if (!element.__upgraded__ || element.__attached__ || !element.isConnected) return;
    element.__attached__ = true;
    element.attachedCallback?.();
  }

  function detach(element) {
    if (!element.__attached__ || element.isConnected) return;
    element.__attached__ = false;
    element.detachedCallback?.();
  }

  // Parents before children; the list is taken first, as callbacks change the tree.
  function everywhere(root, act) {
    const below = root.querySelectorAll ? [...root.querySelectorAll("*")] : [];
    if (root.nodeType === Node.ELEMENT_NODE) act(root);
    below.forEach(act);
  }
  const upgradeTree = (root) => everywhere(root, upgrade);

  function observe(records) {
    for (const record of records) {
      for (const node of record.addedNodes) {
        everywhere(node, (element) => {
          upgrade(element);
          attach(element);
        });
      }
      for (const node of record.removedNodes) everywhere(node, detach);
    }
  }
  const observer = new MutationObserver(observe);
  observer.observe(document, { childList: true, subtree: true });

  document.registerElement = (name, options) => {
    const prototype = options.prototype;
    const definition = { prototype, extends: options.extends };
    for (const method of ["setAttribute", "removeAttribute"]) {
      const native = prototype[method];
      Object.defineProperty(prototype, method, {
        value(attribute, ...rest) {
          const before = this.getAttribute(attribute);
          native.call(this, attribute, ...rest);
          const after = this.getAttribute(attribute);
          if (before !== after) this.attributeChangedCallback?.(attribute, before, after);
        },
        configurable: true,
        writable: true,
      });
    }
    definitions.set(name, definition);
    document.querySelectorAll(`${name}, [is="${name}"]`).forEach(upgrade);
    const constructor = function () {
      return options.extends
        ? document.createElement(options.extends, name)
        : document.createElement(name);
    };
    constructor.prototype = prototype;
    Object.defineProperty(prototype, "constructor", {
      value: constructor,
      configurable: true,
      writable: true,
    });
    return constructor;
  };

  const createElement = document.createElement;
  document.createElement = function (name, is) {
    // The viewer's dialog is an <overlay>, which no browser gives a shadow root; a <div> has one.
    const element = createElement.call(document, name === "overlay" ? "div" : name);
    if (typeof is === "string") element.setAttribute("is", is);
    upgrade(element);
    return element;
  };
  const importNode = document.importNode;
  document.importNode = function (node, deep) {
    const copy = importNode.call(document, node, deep);
    upgradeTree(copy);
    return copy;
  };
  const cloneNode = Node.prototype.cloneNode;
  Node.prototype.cloneNode = function (deep) {
    const copy = cloneNode.call(this, deep);
    // What is cloned in a template's own document comes to life when it is imported.
    if (copy.ownerDocument === document) upgradeTree(copy);
    return copy;
  };
  Element.prototype.createShadowRoot = function () {
    return this.attachShadow({ mode: "open" });
  };
  Object.defineProperty(Event.prototype, "path", {
    get() {
      return this.composedPath();
    },
  });
  window.wrap = window.unwrap = (node) => node; // where nodes are hidden behind others, it asks so
  Object.defineProperty(document, "_currentScript", { get: () => document.currentScript });

  window.CustomElements = {
    hasNative: false,
    useNative: false,
    ready: true,
    upgrade: upgradeTree,
    upgradeDocumentTree: upgradeTree,
    takeRecords: () => observe(observer.takeRecords()),
    instanceof: (object, constructor) => object instanceof constructor,
  };

  document.addEventListener("DOMContentLoaded", () => {
    upgradeTree(document);
    document.dispatchEvent(new CustomEvent("WebComponentsReady", { bubbles: true }));
  });
})();
