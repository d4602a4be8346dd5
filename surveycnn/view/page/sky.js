// The mosaic in OpenSeadragon: its tiles, north up, and where a pixel is on the screen and back.

const SHADES = ["#3b4cc0", "#6ec3e6", "#ffe86b", "#ff8c2a", "#ff3b30"].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

export class Sky {
  constructor(element, changed) {
    this.mosaic = null;
    // the library adds a style sheet of its own, which our policy refuses, unless there is one
    const there = document.createElementNS("urn:surveycnn", "style");
    there.setAttribute("data-openseadragon-mobile-css", "none");
    document.head.append(there);
    // tiles that come too late for a look that is gone are no news
    OpenSeadragon.console = { ...console, warn() {} };
    this.viewer = OpenSeadragon({
      element, drawer: "canvas", showNavigationControl: false, showNavigator: false, animationTime: 0.4, springStiffness: 9,
      maxZoomPixelRatio: 16, minZoomImageRatio: 0.6, visibilityRatio: 0.3, imageSmoothingEnabled: true, immediateRender: true,
      imageLoaderLimit: 6, gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true }, gestureSettingsTouch: { pinchRotate: false },
      gestureSettingsPen: { clickToZoom: false },
    });
    for (const event of ["viewport-change", "animation", "animation-finish", "resize", "open"]) this.viewer.addHandler(event, changed);
    // sharp pixels where they are enlarged
    this.viewer.addHandler("zoom", () => this.mosaic && this.viewer.drawer.setImageSmoothingEnabled(this.pixelSize() < 3));
  }

  source(look) {
    const { mosaic } = this;
    return {
      width: mosaic.nx, height: mosaic.ny, tileSize: mosaic.block, tileOverlap: 0, minLevel: 0, maxLevel: mosaic.levels - 1,
      getTileUrl: (level, col, row) => "tile?" + new URLSearchParams({
        mosaic: mosaic.name, bands: look.bands.join(","), scale: look.scale, level: mosaic.levels - 1 - level, row, col,
      }),
    };
  }

  open(mosaic, look) {
    this.mosaic = mosaic;
    // the first row of a tile has the lowest y: north comes up by a turn, east to the left by a reflection
    this.turn = 180 - mosaic.north;
    return new Promise((done) => {
      this.viewer.addOnceHandler("open", () => {
        this.viewer.viewport.setRotation(((this.turn % 360) + 360) % 360, true);
        this.viewer.viewport.setFlip(mosaic.east_left);
        this.viewer.viewport.goHome(true);
        done();
      });
      this.viewer.open(this.source(look));
    });
  }

  // The same place in another look, which appears when it is there.
  relook(look) {
    const old = [...Array(this.viewer.world.getItemCount()).keys()].map((i) => this.viewer.world.getItemAt(i));
    const remove = () => old.forEach((item) => this.viewer.world.removeItem(item));
    this.viewer.addTiledImage({
      tileSource: this.source(look), preload: true,
      success: ({ item }) => {
        if (item.getFullyLoaded()) remove();
        else item.addOnceHandler("fully-loaded-change", remove);
      },
    });
  }

  pixelSize() {
    const { viewport } = this.viewer;
    return (viewport.getContainerSize().x * viewport.getZoom(true)) / this.mosaic.nx;
  }

  // Screen position of the pixel (x, y); a pixel's centre has whole numbers.
  toScreen(x, y) {
    const { viewport } = this.viewer;
    const size = viewport.getContainerSize();
    const centre = viewport.getCenter(true);
    const scale = size.x * viewport.getZoom(true);
    const angle = (viewport.getRotation(true) * Math.PI) / 180;
    const dx = ((x + 0.5) / this.mosaic.nx - centre.x) * scale;
    const dy = ((y + 0.5) / this.mosaic.nx - centre.y) * scale;
    const right = dx * Math.cos(angle) - dy * Math.sin(angle);
    return [size.x / 2 + (viewport.getFlip() ? -right : right), size.y / 2 + dx * Math.sin(angle) + dy * Math.cos(angle)];
  }

  toPixel(px, py) {
    const { viewport } = this.viewer;
    const size = viewport.getContainerSize();
    const centre = viewport.getCenter(true);
    const scale = size.x * viewport.getZoom(true);
    const angle = (viewport.getRotation(true) * Math.PI) / 180;
    const right = (viewport.getFlip() ? -1 : 1) * (px - size.x / 2);
    const down = py - size.y / 2;
    const dx = right * Math.cos(angle) + down * Math.sin(angle);
    const dy = -right * Math.sin(angle) + down * Math.cos(angle);
    return [(dx / scale + centre.x) * this.mosaic.nx - 0.5, (dy / scale + centre.y) * this.mosaic.nx - 0.5];
  }

  // Rectangle of pixels that holds all that is seen.
  seen() {
    const size = this.viewer.viewport.getContainerSize();
    const corners = [[0, 0], [size.x, 0], [0, size.y], [size.x, size.y]].map(([x, y]) => this.toPixel(x, y));
    const [xs, ys] = [0, 1].map((axis) => corners.map((corner) => corner[axis]));
    return { x0: Math.min(...xs), x1: Math.max(...xs), y0: Math.min(...ys), y1: Math.max(...ys) };
  }

  centreOn(x, y, pixelSize) {
    const { viewport } = this.viewer;
    if (pixelSize) viewport.zoomTo((pixelSize * this.mosaic.nx) / viewport.getContainerSize().x, null, true);
    viewport.panTo(new OpenSeadragon.Point((x + 0.5) / this.mosaic.nx, (y + 0.5) / this.mosaic.nx), true);
  }

  // Directions of north and east on the screen.
  compass() {
    const up = (this.mosaic.north * Math.PI) / 180;
    const side = this.mosaic.east_left ? 1 : -1;
    const [x0, y0] = this.toScreen(0, 0);
    return [[-Math.sin(up), Math.cos(up)], [-Math.cos(up) * side, -Math.sin(up) * side]].map(([x, y]) => {
      const [x1, y1] = this.toScreen(x * 100, y * 100);
      const length = Math.hypot(x1 - x0, y1 - y0) || 1;
      return [(x1 - x0) / length, (y1 - y0) / length];
    });
  }
}

// Colour of a number between 0 and 1.
export function shade(part) {
  const at = Math.min(Math.max(part, 0), 1) * (SHADES.length - 1);
  const low = Math.min(Math.floor(at), SHADES.length - 2);
  return `rgb(${SHADES[low].map((value, i) => Math.round(value + (SHADES[low + 1][i] - value) * (at - low))).join(",")})`;
}
