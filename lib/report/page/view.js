
/// What the reader has chosen to see. Every change draws the charts anew; marking a group only marks it.
const view = {
  hidden: new Set(),  // numbers of groups
  lines: new Set(),   // retrievers
  marked: null,       // number of a group
  x: 'tokens',        // of charts over training: 'step', 'tokens' or 'minutes'
  smoothing: 0,       // weight of what came before, 0 to 0.99
  isLog: false,
  isWhole: false,     // every point, also from before the training and far from all others
};

const kManyGroups = 8;   // more have no colours that a person tells apart
const kManyLines = 12;   // in one chart
const kDashes = {learned: '', '': '', random: '6 4', none: '2 3', recent: '8 3 2 3'};
const kLineNames = {learned: 'learned choice', random: 'random choice', none: 'nothing read', recent: 'the most recent chunks'};
const isCrowded = data.groups.length > kManyGroups;
document.body.classList.toggle('crowded', isCrowded);

/// Of many groups, hues that lie far apart one after the other, in three shades.
function colourOf(group) {
  if (!isCrowded) return `var(--c${group})`;
  return `hsl(${Math.round(group * 137.5) % 360} ${[70, 55, 85][group % 3]}% calc(var(--shade) + ${[0, 9, -8][group % 3]}%))`;
}

const lineNames = [...new Set(data.charts.flatMap(chart => chart.series ? chart.series.map(one => one.line) : [chart.line]))]
  .filter(line => line !== '');
for (const line of lineNames)
  if (line === 'learned' || data.groups.length * lineNames.length <= kManyLines || !lineNames.includes('learned')) view.lines.add(line);

const isShown = one => !view.hidden.has(one.group) && (one.line === '' || view.lines.has(one.line));

function mark(group) {
  view.marked = group;
  document.body.classList.toggle('has-marked', group !== null);
  for (const node of document.querySelectorAll('[data-group]')) node.classList.toggle('marked', Number(node.dataset.group) === group);
}

/// Means in which what came before has the weight of the smoothing; the first values have no more than their share.
function smoothed(points) {
  if (view.smoothing === 0) return points;
  let sum = 0, weight = 0;
  return points.map(([x, y]) => {
    sum = view.smoothing * sum + y;
    weight = view.smoothing * weight + 1;
    return [x, sum / weight];
  });
}
