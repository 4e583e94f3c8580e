'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const element = id => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svgNamespace = element('blank').namespaceURI;
const draw = (tag, attributes, ...children) => fill(document.createElementNS(svgNamespace, tag), attributes, children);

const isKnown = x => x !== null && x !== undefined;
const fixed = (x, digits) => isKnown(x) ? (+x.toFixed(digits)).toFixed(digits) : '-';  // 0.000, not -0.000

/// 1536, 12.3K, 1.5M in powers of 1000.
function countText(x) {
  for (const suffix of ['', 'K', 'M', 'G']) {
    if (Math.abs(x) < 999.5) return `${+x.toPrecision(3)}${suffix}`;
    x /= 1000;
  }
  return `${+x.toPrecision(3)}T`;
}

/// Contexts and positions as 2K in powers of 1024, where they are.
function sizeText(x) {
  for (const suffix of ['', 'K', 'M', 'G']) {
    if (x < 1024 || x % 1024 !== 0) return `${Math.round(x)}${suffix}`;
    x /= 1024;
  }
  return `${Math.round(x)}T`;
}

/// Four digits, but no decimals of large numbers.
const valueText = x => Math.abs(x) >= 10000 ? countText(x) : `${+x.toPrecision(4)}`;

/// Numbers from low to high on the pixels from first to last; by their logarithms where `isLog`.
class Scale {
  constructor(low, high, first, last, isLog) {
    Object.assign(this, {low, high, first, last, isLog});
  }
  share(x) {
    const at = this.isLog ? Math.log : y => y;
    return (at(x) - at(this.low)) / (at(this.high) - at(this.low));
  }
  place(x) { return this.first + (this.last - this.first) * this.share(x); }
  /// Powers of two, at most `count`.
  powerTicks(count) {
    const first = Math.ceil(Math.log2(this.low) - 1e-9), last = Math.floor(Math.log2(this.high) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first + 1) / count));
    const ticks = [];
    for (let power = first; power <= last; power += step) ticks.push(2 ** power);
    return ticks.map(tick => ({at: tick, text: sizeText(tick)}));
  }
  /// Round numbers, about `count`, with as many decimals as tell them apart.
  ticks(count) {
    if (this.isLog && this.high / this.low > 12) return this.decadeTicks(count);
    const rough = (this.high - this.low) / count;
    const magnitude = 10 ** Math.floor(Math.log10(rough));
    const leading = rough / magnitude;
    const step = magnitude * (leading < 1.5 ? 1 : leading < 3.5 ? 2 : leading < 7.5 ? 5 : 10);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const ticks = [];
    for (let i = Math.ceil(this.low / step - 1e-9); i * step <= this.high + 1e-9 * step; ++i) ticks.push(i * step);
    return ticks.map(tick => ({at: tick, text: this.high >= 10000 ? countText(tick) : tick.toFixed(decimals)}));
  }
  decadeTicks(count) {
    const ticks = [];
    const digits = Math.log10(this.high / this.low) * 3 > 2 * count ? [1] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(this.low)); power <= Math.log10(this.high); ++power)
      for (const digit of digits) {
        const tick = digit * 10 ** power;
        if (tick >= this.low && tick <= this.high) ticks.push({at: tick, text: valueText(tick)});
      }
    return ticks;
  }
}

/// The value below which the share `q` of the sorted numbers lies.
function quantile(sorted, q) {
  const at = q * (sorted.length - 1), below = Math.floor(at);
  return sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}
