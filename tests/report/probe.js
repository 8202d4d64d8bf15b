// Loads PAGE in frames of some widths and writes what is wrong with it, one line each, as the only text of this page.
const light = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
const faults = [];
let left = WIDTHS.length;

function colour(text) {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
}

function luminance({ r, g, b }) { // WCAG 2.2, relative luminance
    const [x, y, z] = [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}

function over(top, under) {
    const mix = (c) => top[c] * top.a + under[c] * (1 - top.a);
    return { r: mix("r"), g: mix("g"), b: mix("b"), a: 1 };
}

function background(element, view) {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(colour(view.getComputedStyle(e).backgroundColor));
    const canvas = light === "light" ? { r: 255, g: 255, b: 255, a: 1 } : { r: 18, g: 18, b: 18, a: 1 };
    return layers.reverse().reduce((under, top) => over(top, under), canvas);
}

function named(element) {
    return `<${element.tagName.toLowerCase()}> ${(element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 40)}`;
}

function scrolls(element, view) {
    for (let e = element; e; e = e.parentElement) {
        if (/auto|scroll|hidden/.test(view.getComputedStyle(e).overflowX) && e.tagName !== "BODY" && e.tagName !== "HTML") return true;
    }
    return false;
}

function look(frame, width) {
    const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement;
    const say = (what) => faults.push(`${light} ${width}: ${what}`);
    if (root.scrollWidth > root.clientWidth) {
        const wide = [...page.body.querySelectorAll("*")].filter(
            (e) => e.getBoundingClientRect().right > root.clientWidth + 1 && !scrolls(e, view) && !e.closest("svg svg, svg *"));
        say(`wider than the window by ${root.scrollWidth - root.clientWidth} px: ${wide.slice(-1).map(named)}`);
    }
    const drawn = page.querySelectorAll("svg");
    drawn.forEach((s) => {
        if (!s.closest("svg svg") && !s.getAttribute("aria-label") && !s.querySelector("title") && s.getAttribute("aria-hidden") !== "true")
            say(`a picture without a name: ${named(s.parentElement)}`);
    });
    page.querySelectorAll("img:not([alt])").forEach(() => say("an image without alt"));
    const levels = [...page.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((h) => Number(h.tagName[1]));
    if (levels.filter((l) => l === 1).length !== 1) say(`headings ${levels.join(" ")}: one h1`);
    levels.forEach((l, i) => { if (i && l > levels[i - 1] + 1) say(`h${l} behind h${levels[i - 1]}`); });
    if (!root.lang || !page.title) say("no language or no title");
    page.querySelectorAll("body *").forEach((e) => {
        const style = view.getComputedStyle(e);
        const reaches = e.scrollWidth > e.clientWidth && /auto|scroll/.test(style.overflowX);
        if (reaches && e.tabIndex < 0) say(`scrolls, but not by keyboard: ${named(e)}`);
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !e.getClientRects().length || style.visibility === "hidden") return;
        const behind = background(e, view), ink = over(colour(e.closest("svg") ? style.fill : style.color), behind);
        const [a, b] = [luminance(ink), luminance(behind)].sort((x, y) => y - x);
        const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        const ratio = (a + 0.05) / (b + 0.05);
        if (!e.closest("svg") && ratio < (large ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}: ${named(e)}`);
    });
}

for (const width of WIDTHS) {
    const frame = document.createElement("iframe");
    frame.style.cssText = `width:${width}px; height:900px`;
    frame.onload = () => {
        look(frame, width);
        left -= 1;
        if (!left) document.body.innerText = ["probed", ...new Set(faults)].join("\n");
    };
    frame.src = PAGE;
    document.body.append(frame);
}
