"use strict";
// Play buttons start and stop all videos of their group together. Without scripts each video has its own controls.
for (const button of document.querySelectorAll("button.play")) {
  const videos = [...button.closest(".group").querySelectorAll("video")];
  if (!videos.length) continue;
  button.hidden = false;
  const show = () => button.setAttribute("aria-pressed", String(videos.some((video) => !video.paused)));
  button.addEventListener("click", () => {
    const stop = videos.some((video) => !video.paused);
    for (const video of videos) {
      if (stop) video.pause();
      else video.play().catch(show);
    }
  });
  for (const video of videos) for (const event of ["play", "pause", "error"]) video.addEventListener(event, show);
}
