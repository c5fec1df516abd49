"use strict";
// Connects the plot, the list, the search box and the player. `songData` and `plotItem` are above.
window.songMap = (() => {
  const { songs, colours, groups } = window.songData;
  const byId = (id) => document.getElementById(id);
  const list = byId("songs"), search = byId("search"), player = byId("player");
  const texts = songs.map((song, row) =>
    [song.name, song.recording, ...Object.values(groups).map((values) => values[row])]
      .join(" ").toLowerCase());
  let shown = songs.map((_, row) => row);
  let chosen = null;

  const source = () => window.Bokeh.documents[0].get_model_by_name("songs");

  function fill() {
    list.replaceChildren(...shown.map((row) => new Option(`${songs[row].name}  ${songs[row].length}`, row)));
    byId("count").textContent =
      shown.length === songs.length ? `${songs.length} songs` : `${shown.length} of ${songs.length} songs`;
    if (shown.includes(chosen)) list.value = chosen;
  }

  function change(column, values) {
    const data = source();
    data.data = { ...data.data, [column]: values };
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = texts.map((text) => words.every((word) => text.includes(word)));
    shown = songs.map((_, row) => row).filter((row) => found[row]);
    change("alpha", found.map((is) => (is ? 0.85 : 0.06)));
    fill();
  }

  function legend(name) {
    const counts = new Map();
    groups[name].forEach((group, row) => {
      const key = JSON.stringify([colours[name][row], group || "unknown"]);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    });
    const common = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 20);
    byId("legend").replaceChildren(...common.map(([key, count]) => {
      const [shade, group] = JSON.parse(key);
      const item = document.createElement("li"), dot = document.createElement("span");
      dot.style.background = shade;
      item.append(dot, `${group} (${count})`);
      return item;
    }));
  }

  function colour() {
    const name = byId("colour").value;
    legend(name);
    change("colour", colours[name]);
    change("group", groups[name]);
  }

  function play() {
    player.play().catch((error) => {
      byId("message").textContent = `This browser cannot play ${songs[chosen].recording} (${error.name}).`;
    });
  }

  function choose(row, andPlay) {
    const song = songs[row];
    if (chosen !== row) {
      chosen = row;
      byId("chosen").textContent = song.name;
      byId("message").textContent = song.sound ? "" : "There is no sound for this song.";
      if (song.sound) player.src = song.sound;
      else player.removeAttribute("src");
      byId("near").replaceChildren(...song.near.map(([other, alike]) => {
        const item = document.createElement("li"), button = document.createElement("button");
        button.textContent = `${songs[other].name} (${alike.toFixed(2)})`;
        button.addEventListener("click", () => choose(other, true));
        item.append(button);
        return item;
      }));
      list.value = row;
      const selected = source().selected;
      if (selected.indices[0] !== row) selected.indices = [row];
    }
    if (andPlay && song.sound) play();
  }

  function clear() {
    search.value = "";
    player.pause();
    filter();
  }

  search.addEventListener("input", filter);
  byId("colour").addEventListener("change", colour);
  list.addEventListener("change", () => choose(Number(list.value), false));
  list.addEventListener("dblclick", () => choose(Number(list.value), true));
  document.addEventListener("keydown", (event) => {
    const typing = event.target === search;
    if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); }
    else if (event.key === "Escape") clear();
    else if (event.key === "Enter" && typing && shown.length) { list.focus(); choose(shown[0], true); }
    else if (event.key === "Enter" && event.target === list && list.value) choose(Number(list.value), true);
    else if (event.key === " " && event.target === list && chosen !== null) {
      event.preventDefault();
      if (player.paused) choose(chosen, true); else player.pause();
    }
  });
  window.Bokeh.embed.embed_item(window.plotItem).then(() => { fill(); legend(byId("colour").value); });
  return { choose, shown: () => shown, chosen: () => chosen };
})();
