
const kTrainingAxes = {step: {title: 'steps', at: 0}, tokens: {title: 'tokens of text trained on', at: 1}, minutes: {title: 'minutes of training', at: 2}};

/// The points [x, y] of a series, on the axis that is chosen.
function pointsOf(chart, series) {
  if (chart.x === 'size') return series.points;
  const at = kTrainingAxes[view.x].at;
  return series.points.filter(point => isKnown(point[at])).map(point => [point[at], point[3]]);
}

function endsOf(numbers) {
  let low = Infinity, high = -Infinity;
  for (const x of numbers) low = Math.min(low, x), high = Math.max(high, x);
  return [low, high];
}

/// The value of a curve at x, which lies within it.
function valueAt(points, x) {
  const next = points.findIndex(point => point[0] >= x);
  if (next <= 0) return points[Math.max(0, next)][1];
  const [a, b] = [points[next - 1], points[next]];
  return a[1] + (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0]);
}

/// The points of a line that the y axis is made for: of a curve that falls from where it began, not its first tenth.
function settledPoints(chart, {points}, xAxis) {
  if (!chart.skips_start || points.length < 2) return points;
  const first = xAxis.share(points[0][0]), last = xAxis.share(points[points.length - 1][0]);
  const begin = first + 0.1 * (last - first);
  const later = points.filter(point => xAxis.share(point[0]) >= begin);
  // Two points say where a line goes, not how it gets there.
  if (later.length > 2 || chart.x === 'size') return later;
  const x = xAxis.low + begin * (xAxis.high - xAxis.low);
  return [[x, valueAt(points, x)], ...later];
}

/// The ends of the y axis: those of the settled points, without those that lie far from nearly all others.
function yEnds(chart, lines, xAxis) {
  if (view.isWhole) return endsOf(lines.flatMap(line => line.points.map(point => point[1])));
  const kept = lines.flatMap(line => settledPoints(chart, line, xAxis).map(point => point[1]));
  const [low, high] = endsOf(kept);
  if (kept.length < 20) return [low, high];
  const sorted = kept.sort((a, b) => a - b);
  const [common, rare] = [quantile(sorted, 0.05), quantile(sorted, 0.95)];
  return [Math.max(low, common - (rare - common)), Math.min(high, rare + (rare - common))];
}

/// The ends with a little room, and where all numbers are the same.
function widened([low, high], isLog) {
  if (isLog) return low === high ? [low / 1.5, high * 1.5] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
  const room = low === high ? Math.abs(low) * 0.05 || 0.5 : 0.04 * (high - low);
  return [low - room, high + room];
}

function pathOf(points, x, y) {
  return points.map(([a, b], i) => `${i > 0 ? 'L' : 'M'}${x.place(a).toFixed(1)} ${y.place(b).toFixed(1)}`).join('');
}

const textAt = (x, y, anchor, text) => draw('text', {x, y, 'text-anchor': anchor}, text);

/// "1 of 40 lines leaves the axis": what the axis does not show is said, but for the start of a curve.
function leavingText(chart, lines, x, y) {
  const leaving = lines.filter(line => settledPoints(chart, line, x).some(point => point[1] < y.low || point[1] > y.high)).length;
  if (leaving === 0) return '';
  if (lines.length === 1) return '; the line leaves the axis';
  return `; ${leaving} of ${lines.length} lines ${leaving === 1 ? 'leaves' : 'leave'} the axis`;
}

function caption(title, small) {
  return make('figcaption', {}, make('b', {}, title), make('small', {}, small));
}

/// A figure with lines over a grid, `width` pixels wide.
function lineChart(chart, width) {
  const lines = chart.series.filter(isShown)
    .map(series => ({series, points: pointsOf(chart, series)})).filter(line => line.points.length > 0);
  const xTitle = chart.x === 'size' ? chart.x_title : kTrainingAxes[view.x].title;
  if (lines.length === 0)
    return make('figure', {'aria-label': chart.title}, caption(chart.title, chart.series.some(isShown) ? `nothing is known over ${xTitle}` : 'no run is shown'));
  if (chart.smooths)
    for (const line of lines) {
      if (view.smoothing > 0 && lines.length <= kManyLines) line.raw = line.points;
      line.points = smoothed(line.points);
    }
  const height = 250, left = 46, right = 12, top = 8, bottom = 34;
  const isSize = chart.x === 'size';
  let [xLow, xHigh] = endsOf(lines.flatMap(line => line.points.map(point => point[0])));
  if (xLow === xHigh) [xLow, xHigh] = isSize ? [xLow / 2, xHigh * 2] : [Math.min(0, xLow), xHigh || 1];
  const x = new Scale(xLow, xHigh, left, width - right, isSize);
  const ends = yEnds(chart, lines, x);
  const isLog = view.isLog && lines.every(line => line.points.every(point => point[1] > 0));
  const y = new Scale(...widened(ends, isLog), height - bottom, top, isLog);

  const svg = draw('svg', {width, height, role: 'img', 'aria-label': chart.title});
  for (const tick of y.ticks(5))
    svg.append(draw('line', {class: tick.at === 0 ? 'zero' : 'grid', x1: left, x2: width - right, y1: y.place(tick.at), y2: y.place(tick.at)}),
               textAt(left - 6, y.place(tick.at) + 4, 'end', tick.text));
  const most = Math.max(2, Math.floor((width - left) / 64));
  for (const tick of isSize ? x.powerTicks(most) : x.ticks(most))
    svg.append(draw('line', {class: 'grid', x1: x.place(tick.at), x2: x.place(tick.at), y1: top, y2: height - bottom}),
               textAt(Math.min(x.place(tick.at), width - right - 6), height - bottom + 14, 'middle', tick.text));
  svg.append(textAt((left + width - right) / 2, height - 4, 'middle', xTitle));

  // An svg element cuts off what lies outside; marks on its edges are whole.
  const plotBox = [left - 4, top, width - left - right + 8, height - top - bottom];
  const plot = draw('svg', {x: plotBox[0], y: plotBox[1], width: plotBox[2], height: plotBox[3], viewBox: plotBox.join(' ')});
  for (const {series, points, raw} of [...lines].sort((a, b) => b.series.is_single_run - a.series.is_single_run)) {
    const style = `--colour: ${colourOf(series.group)}; stroke-dasharray: ${kDashes[series.line] || 'none'}`;
    if (raw) plot.append(draw('path', {class: 'raw', 'data-group': series.group, style, d: pathOf(raw, x, y)}));
    plot.append(draw('path', {class: series.is_single_run ? 'line thin' : 'line', 'data-group': series.group, style, d: pathOf(points, x, y)}));
    if (points.length <= (isCrowded ? 1 : 20) && !series.is_single_run)
      for (const [a, b] of points)
        plot.append(draw('circle', {'data-group': series.group, style, cx: x.place(a), cy: y.place(b), r: 2.5}));
  }
  svg.append(plot);
  watch(svg, lines.filter(line => !line.series.is_single_run), x, y, isSize);
  const leaving = leavingText(chart, lines.filter(line => !line.series.is_single_run), x, y);
  const scale = view.isLog && !isLog ? '; no log scale: not all values are above 0' : '';
  return make('figure', {}, caption(chart.title, chart.unit + leaving + scale), svg);
}

/// As many decimals for all of a hint as show four digits of the largest.
function hintText(y, shown) {
  const largest = Math.max(...shown.map(one => Math.abs(one.point[1])));
  if (largest >= 10000) return countText(y);
  return y.toFixed(Math.min(5, Math.max(0, 3 - Math.floor(Math.log10(largest || 1)))));
}

const labelOf = series => data.groups[series.group].name + (series.line === '' ? '' : `, ${kLineNames[series.line] ?? series.line}`);

/// The values under the pointer: of the nearest line, and of those next to it.
function watch(svg, lines, x, y, isSize) {
  const cursor = draw('line', {class: 'cursor', y1: y.last, y2: y.first, visibility: 'hidden'});
  svg.append(cursor);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect();
    const px = event.clientX - box.left, py = event.clientY - box.top;
    const near = [];
    for (const line of lines) {
      const point = line.points.reduce((a, b) => Math.abs(x.place(b[0]) - px) < Math.abs(x.place(a[0]) - px) ? b : a);
      near.push({series: line.series, point, dx: Math.abs(x.place(point[0]) - px), dy: Math.abs(y.place(point[1]) - py)});
    }
    const reach = Math.min(...near.map(one => one.dx)) + 12;  // curves that end before the pointer say nothing there
    const shown = near.filter(one => one.dx <= reach).sort((a, b) => a.dy - b.dy).slice(0, 8);
    const nearest = shown[0];
    const at = x.place(nearest.point[0]);
    fill(cursor, {x1: at, x2: at, visibility: 'visible'}, []);
    mark(nearest.series.group);
    const xText = isSize ? sizeText(nearest.point[0]) : valueText(nearest.point[0]);
    showHint(event, [make('div', {class: 'faint'}, xText),
      ...shown.sort((a, b) => b.point[1] - a.point[1]).map(one => make('div', {class: one === nearest ? 'nearest' : ''},
        make('span', {}, make('i', {class: 'swatch', style: `--colour: ${colourOf(one.series.group)}`}), labelOf(one.series)),
        make('b', {}, hintText(one.point[1], shown))))]);
  });
  svg.addEventListener('pointerleave', () => {
    cursor.setAttribute('visibility', 'hidden');
    hideHint();
    mark(null);
  });
}

function showHint(event, children) {
  const hint = element('hint');
  hint.replaceChildren(...children);
  hint.hidden = false;
  const left = event.clientX + 16 + hint.offsetWidth > innerWidth ? event.clientX - 16 - hint.offsetWidth : event.clientX + 16;
  hint.style.left = `${Math.max(4, left)}px`;
  hint.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - hint.offsetHeight - 4))}px`;
}
const hideHint = () => { element('hint').hidden = true; };
