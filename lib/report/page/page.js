
const kOpenMaps = 8;  // more of them are folded up

function control(label, input) {
  return make('label', {}, input, label);
}

function fillControls() {
  const axis = make('select', {id: 'x-axis'}, ...['tokens', 'step', 'minutes'].map(name => make('option', {value: name}, kTrainingAxes[name].title)));
  axis.addEventListener('input', () => { view.x = axis.value; drawCharts(); });
  const smoothing = make('input', {type: 'range', id: 'smoothing', min: 0, max: 0.99, step: 0.01, value: 0});
  const amount = make('output', {}, 'off');
  smoothing.addEventListener('input', () => {
    view.smoothing = Number(smoothing.value);
    amount.textContent = view.smoothing === 0 ? 'off' : fixed(view.smoothing, 2);
    drawCharts();
  });
  const log = make('input', {type: 'checkbox', id: 'log-scale'});
  log.addEventListener('input', () => { view.isLog = log.checked; drawCharts(); });
  const whole = make('input', {type: 'checkbox', id: 'whole-range'});
  whole.addEventListener('input', () => { view.isWhole = whole.checked; drawCharts(); });
  element('controls').append(make('label', {}, 'over ', axis), make('label', {}, 'smoothing', smoothing, amount),
                             control('log scale', log), control('whole range', whole), lineControls());
}

/// Of retrievers: a legend of their dashes, which shows and hides them.
function lineControls() {
  return make('span', {}, ...lineNames.map(line => {
    const box = make('input', {type: 'checkbox', 'data-line': line});
    box.checked = view.lines.has(line);
    box.addEventListener('input', () => {
      if (!view.lines.delete(line)) view.lines.add(line);
      drawCharts();
    });
    const sample = draw('svg', {width: 26, height: 8},
                        draw('path', {d: 'M0 4h26', style: `--colour: var(--faint); stroke-dasharray: ${kDashes[line] || 'none'}`}));
    return make('label', {}, box, sample, kLineNames[line] ?? line);
  }));
}

/// The sections with their places for charts, made once.
function makeSections() {
  return [...new Set(data.charts.map(chart => chart.section))].map(section => {
    const charts = data.charts.filter(chart => chart.section === section);
    const lines = charts.filter(chart => chart.series), maps = charts.filter(chart => chart.cells);
    const grid = make('div', {class: 'grid'}), cells = make('div', {class: 'grid maps'});
    const fold = make('details', maps.length > kOpenMaps ? {} : {open: ''}, make('summary', {}, 'By context and depth'), cells);
    element('charts').append(make('section', {}, make('h2', {}, section), grid, ...(maps.length > 0 ? [fold] : [])));
    return {grid, cells, lines, maps};
  });
}

function drawCharts() {
  hideHint();
  showHiddenRuns();
  for (const {grid, cells, lines, maps} of sections) {
    const columns = Math.max(1, Math.floor((grid.clientWidth + 14) / (370 + 14)));
    const width = Math.max(240, Math.floor((grid.clientWidth - 14 * (columns - 1)) / columns) - 22);
    grid.replaceChildren(...lines.map(chart => lineChart(chart, width)));
    cells.replaceChildren(...maps.filter(isShown).map(heatMap));
  }
}

const runCount = data.groups.reduce((count, group) => count + group.runs.length, 0);
const hasSeeds = data.groups.some(group => group.runs.length > 1);
element('summary').textContent = `${runCount} ${runCount === 1 ? 'run' : 'runs'}` +
  (hasSeeds ? `, ${data.groups.length} settings: thick lines are means over seeds, thin lines single runs` : '') +
  (data.charts.length === 0 ? '. Nothing has been measured yet.' : '');
fillControls();
fillResults();
fillRuns(drawCharts);
const sections = makeSections();
drawCharts();
for (const [id, hidden] of [['show-all', []], ['show-none', data.groups.map((_, number) => number)]])
  element(id).addEventListener('click', () => { view.hidden = new Set(hidden); drawCharts(); });
let drawnWidth = innerWidth;
addEventListener('resize', () => {
  if (innerWidth !== drawnWidth) drawCharts();
  drawnWidth = innerWidth;
});
