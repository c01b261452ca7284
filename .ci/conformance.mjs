// Compares the results of .ci/conformance with the list of what does not apply. Usage: node conformance.mjs RESULTS LIST
//
// A check that fails without being listed, a listed scenario or check of which nothing fails, and a run without results are errors. A row of the
// list reads | build | run | `scenario`, `scenario/check`, … | reason |, where build and run may be "both".
import { globSync, readFileSync } from 'node:fs';

const [results, list] = process.argv.slice(2);
const rows = readFileSync(list, 'utf8').split('\n')
  .map(line => line.match(/^\| (product|tools|both) \| (2025|2026|both) \| (.+) \| (.+) \|$/))
  .filter(Boolean)
  .flatMap(([, build, run, names]) => [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => ({ build, run, name, used: new Set() })));
const errors = [];
if (rows.length === 0) errors.push(`${list} has no rows`);

for (const build of ['product', 'tools']) {
  for (const run of ['2025', '2026']) {
    const count = { scenarios: 0, passed: 0, listed: 0 };
    for (const file of globSync(`${results}/${build}/${run}*/*/checks.json`)) {
      const scenario = file.split('/').at(-2).replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '');
      count.scenarios++;
      for (const check of JSON.parse(readFileSync(file, 'utf8'))) {
        if (check.status === 'SUCCESS') count.passed++;
        if (check.status !== 'FAILURE') continue;
        const row = rows.find(r => (r.build === 'both' || r.build === build) && (r.run === 'both' || r.run === run) && (r.name === scenario || r.name === `${scenario}/${check.id}`));
        if (!row) {
          errors.push(`${build} ${run}: ${scenario}/${check.id}: ${check.errorMessage}`);
          continue;
        }
        row.used.add(`${build} ${run}`);
        count.listed++;
      }
    }
    if (count.scenarios === 0) errors.push(`${build} ${run}: no results`);
    console.log(`conformance, ${build}, ${run}: ${count.scenarios} scenarios, ${count.passed} checks passed, ${count.listed} do not apply`);
  }
}
for (const row of rows) {
  const wanted = (row.build === 'both' ? ['product', 'tools'] : [row.build]).flatMap(b => (row.run === 'both' ? ['2025', '2026'] : [row.run]).map(r => `${b} ${r}`));
  for (const at of wanted.filter(w => !row.used.has(w))) errors.push(`${at}: ${row.name} is listed, but does not fail`);
}
for (const error of errors) console.error(error);
process.exit(errors.length === 0 ? 0 : 1);
