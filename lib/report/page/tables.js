
const swatch = group => make('i', {class: 'swatch', style: `--colour: ${colourOf(group)}`});
const mean = spread => spread.mean;

/// Bits per byte with the learned choice, or of a model that has none, by data set and context.
function contextColumns() {
  const learned = group => group.contexts.filter(one => (one.retriever === 'learned' || one.retriever === '') && isKnown(one.bits_per_byte.mean));
  const measured = new Map();
  for (const group of data.groups)
    for (const one of learned(group)) measured.set(`${one.data} ${one.context}`, one);
  const hasSeveral = new Set([...measured.values()].map(one => one.data)).size > 1;
  return [...measured.values()].sort((a, b) => a.data < b.data ? -1 : a.data > b.data ? 1 : a.context - b.context).map(wanted => ({
    title: `at ${sizeText(wanted.context)}`, small: hasSeveral ? `bits/byte, ${wanted.data.split('/').pop()}` : 'bits/byte, eval',
    value: group => learned(group).find(one => one.data === wanted.data && one.context === wanted.context)?.bits_per_byte.mean,
    text: x => fixed(x, 4)}));
}

const kColumns = [
  {title: 'valid loss', small: 'nats per token', value: group => mean(group.loss), text: x => fixed(x, 4)},
  {title: 'range', small: 'of the runs', value: group => group.runs.length > 1 && isKnown(mean(group.loss)) ? group.loss.high - group.loss.low : null, text: x => fixed(x, 4)},
  {title: 'valid', small: 'bits/byte', value: group => mean(group.bits_per_byte), text: x => fixed(x, 4)},
  {title: 'reading', small: 'gain, nats', value: group => mean(group.of_reading), text: x => fixed(x, 3)},
  {title: 'choosing', small: 'gain, nats', value: group => mean(group.of_choice), text: x => fixed(x, 3)},
  {title: 'spread', small: 'of scores', value: group => mean(group.score_spread), text: x => fixed(x, 2)},
  ...contextColumns(),
  {title: 'minutes', small: 'training', value: group => isKnown(mean(group.seconds)) ? mean(group.seconds) / 60 : null, text: x => fixed(x, 1)},
  {title: 'tokens/s', small: 'training', value: group => mean(group.tokens_per_second), text: countText},
  {title: 'tokens', value: group => group.tokens || null, text: countText},
  {title: 'steps', value: group => group.steps || null,
   text: (x, group) => group.has_ended ? `${x}` : `${x}${group.planned_steps ? ` of ${group.planned_steps}` : ''}, not ended`},
  {title: 'parameters', value: group => group.parameters || null, text: countText},
  {title: 'seeds', value: group => group.seeds, text: x => x},
].filter(column => data.groups.some(group => isKnown(column.value(group))));

/// A row of either table tells which line it is, and the other way round.
function rowOf(group, number, cells) {
  const row = make('tr', {'data-group': number}, make('td', {title: group.runs.map(run => run.path).join('\n')}, swatch(number), group.name), ...cells);
  row.addEventListener('pointerenter', () => mark(number));
  row.addEventListener('pointerleave', () => mark(null));
  return row;
}

function fillResults(sortedBy) {
  const head = make('tr', {}, make('th', {}, 'run'), ...kColumns.map(column => {
    const cell = make('th', {title: 'sort'}, column.title, make('small', {}, column.small ?? ''));
    cell.addEventListener('click', () => fillResults(column));
    return cell;
  }));
  const order = data.groups.map((_, number) => number);
  const key = number => {
    const value = sortedBy.value(data.groups[number]);
    return typeof value === 'number' ? value : Infinity;
  };
  if (sortedBy) order.sort((a, b) => key(a) === key(b) ? a - b : key(a) - key(b));
  element('results').replaceChildren(head, ...order.map(number => {
    const group = data.groups[number];
    return rowOf(group, number, kColumns.map(column => {
      const value = column.value(group);
      return make('td', {}, isKnown(value) ? column.text(value, group) : '-');
    }));
  }));
}

/// What differs, beside the charts: their legend as well. A click shows or hides a run.
function fillRuns(drawCharts) {
  const breakable = name => name.split('_').flatMap((word, i) => i > 0 ? ['_', make('wbr', {}), word] : [word]);
  const head = make('tr', {}, make('th', {}, 'run'), ...data.settings.map(name => make('th', {}, ...breakable(name))));
  const rows = data.groups.map((group, number) => {
    const row = rowOf(group, number, group.values.map(value => make('td', {title: value}, value)));
    row.addEventListener('click', () => {
      if (!view.hidden.delete(number)) view.hidden.add(number);
      drawCharts();
    });
    return row;
  });
  element('runs').replaceChildren(head, ...rows);
  element('alike').hidden = data.settings.length > 0 || data.groups.length < 2;
}

function showHiddenRuns() {
  for (const row of element('runs').querySelectorAll('[data-group]')) row.classList.toggle('off', view.hidden.has(Number(row.dataset.group)));
}
