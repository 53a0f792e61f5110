"use strict";
// Two comforts; without scripts each video stands in its place with its own controls.
// A closed prompt's players, which browsers are slow to build, wait as text in <noscript> until the prompt is opened.
const build = (prompt) => {
  for (const waiting of prompt.querySelectorAll("noscript")) {
    const template = document.createElement("template");
    template.innerHTML = waiting.textContent;
    waiting.replaceWith(template.content);
  }
};
for (const prompt of document.querySelectorAll("details.prompt")) {
  prompt.addEventListener("toggle", () => prompt.open && build(prompt));
}
// Play buttons start and stop all videos of their group together.
for (const button of document.querySelectorAll("button.play")) {
  const group = button.closest(".group");
  if (!group.querySelector("video, noscript")) continue;
  const videos = () => [...group.querySelectorAll("video")];
  const show = () => button.setAttribute("aria-pressed", String(videos().some((video) => !video.paused)));
  button.hidden = false;
  button.addEventListener("click", () => {
    const stop = videos().some((video) => !video.paused);
    for (const video of videos()) {
      if (stop) video.pause();
      else video.play().catch(show);
    }
  });
  for (const event of ["play", "pause", "error"]) group.addEventListener(event, show, true);
}
