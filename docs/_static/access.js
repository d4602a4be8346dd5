// Keyboards and screen readers.
// What scrolls sideways can be reached, and scrolled, by the keyboard.
function mark() {
  for (const box of document.querySelectorAll(".highlight pre, .table-wrapper, p:has(> img[src$='.svg'])")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
document.addEventListener("DOMContentLoaded", () => {
  mark();
  // Sphinx calls the captions of its navigation headings, and does not say of which level.
  for (const caption of document.querySelectorAll(".caption[role=heading]")) caption.setAttribute("aria-level", "2");
});
window.addEventListener("resize", mark);
