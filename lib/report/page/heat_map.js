
/// A figure of cells from red for 0 over yellow to green for 1, each with its percentage.
function heatMap(chart) {
  const cellWidth = 48, cellHeight = 22, labels = 62, top = 2;
  const columns = chart.columns.labels, rows = chart.rows.labels;
  const bottom = top + cellHeight * rows.length;
  const width = labels + cellWidth * columns.length + 4;
  const svg = draw('svg', {width, height: bottom + 36, role: 'img', 'aria-label': chart.title});
  rows.forEach((row, r) => {
    const y = top + cellHeight * r;
    svg.append(textAt(labels - 7, y + cellHeight / 2 + 4, 'end', row));
    chart.cells[r].forEach((cell, c) => {
      if (cell === null) return;
      const x = labels + cellWidth * c;
      const share = textAt(x + cellWidth / 2, y + cellHeight / 2 + 4, 'middle', (100 * cell.share).toFixed(0));
      share.setAttribute('class', 'share');
      svg.append(draw('g', {class: 'cell'}, draw('title', {}, cell.hint),
                      draw('rect', {x: x + 0.5, y: y + 0.5, width: cellWidth - 1, height: cellHeight - 1,
                                    style: `fill:hsl(${Math.round(120 * cell.share)} 60% var(--heat))`}), share));
    });
  });
  columns.forEach((column, c) => svg.append(textAt(labels + cellWidth * (c + 0.5), bottom + 14, 'middle', column)));
  svg.append(textAt(labels + cellWidth * columns.length / 2, bottom + 30, 'middle', chart.columns.title));
  svg.append(textAt(labels - 7, bottom + 14, 'end', chart.rows.title));
  return make('figure', {}, caption(chart.title, labelOf(chart)), svg);
}
