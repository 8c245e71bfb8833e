// jest's reporter for this package: jest's own output, then the services that the run covered and, as the very last line,
// "N passed, N failed". Plain JavaScript, because jest loads reporters without its transforms.
const { mkdtempSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { dirname, join } = require('node:path');
const { DefaultReporter, SummaryReporter, VerboseReporter } = require('@jest/reporters');

/** Stopping PostgreSQL takes up to 10 s; what is still alive after this was left open. */
const exitTimeoutMs = 30_000;

/** What `npm run test:fuzz` is for: so many cases in these files alone. */
const fuzzCases = 100_000;
const fuzzed = /^(decode-reply|address-guard|address-guard-lookup|url-agreement)\.spec\.ts$/;
/** The least FUZZ_RUNS with which their ten properties can reach that. */
const minFuzzRuns = 10_000;

module.exports = class {
  constructor(globalConfig) {
    const Progress = globalConfig.verbose ? VerboseReporter : DefaultReporter;
    this.reporters = [new Progress(globalConfig), new SummaryReporter(globalConfig)];
    this.watching = globalConfig.watch || globalConfig.watchAll;
    // With --json, standard output is for jest's document alone.
    this.output = globalConfig.json ? process.stderr : process.stdout;
    this.results = undefined;
    this.failures = [];
    this.tally = process.env.FUZZ_RUNS === undefined ? undefined : createFile('FUZZ_TALLY');
    if (!this.watching) process.once('exit', code => this.printAtExit(code));
  }

  async onRunComplete(contexts, results) {
    await this.forward('onRunComplete', contexts, results);
    this.results = results;
    this.services = readServices();
    this.failures = this.services.filter(service => isUntold(service, results)).map(describeUntold);
    if (this.tally !== undefined) this.judgeCases(takeLines(this.tally));
    if (this.watching) this.print();
    else setTimeout(() => this.endForcibly(), exitTimeoutMs).unref();
  }

  /** Fewer cases than the run is for are a failure, also where time cut them. */
  judgeCases(lines) {
    const properties = lines.map(line => line.split(' '));
    const count = list => list.reduce((sum, [cases]) => sum + Number(cases), 0);
    const cut = properties.filter(([, interrupted]) => interrupted === 'true').length;
    const told = cut > 0 ? `; ${cut} properties cut short by time` : '';
    const cases = count(properties.filter(([, , file]) => fuzzed.test(file)));
    const of = 'of replies, addresses and URLs';
    this.cases =
      `cases: ${count(properties).toLocaleString('en')} of ${properties.length} properties, ` +
      `${cases.toLocaleString('en')} ${of}${told}`;
    if (cases >= fuzzCases || Number(process.env.FUZZ_RUNS) < minFuzzRuns) return;
    this.cases = `NOT MET: ${cases.toLocaleString('en')} of ${fuzzCases.toLocaleString('en')} cases ${of}${told}`;
    this.failures.push('too few cases');
  }

  /** An error here makes jest's exit code 1. */
  getLastError() {
    return this.failures.length > 0 ? new Error(this.failures.join('; ')) : undefined;
  }

  /** The run is over, its services are stopped, and still something keeps the process alive. */
  endForcibly() {
    this.failures.push(`the run left open: ${process.getActiveResourcesInfo().join(', ')}`);
    process.exit(1);
  }

  printAtExit(code) {
    // No results: the setup failed, and jest has said why.
    if (this.results !== undefined) this.print();
    else if (code !== 0) this.output.write('0 passed, 1 failed\n');
  }

  print() {
    const { numPassedTests, numFailedTests, numRuntimeErrorTestSuites, numPendingTests, numTodoTests } =
      this.results;
    // A file that could not be run counts as one failure, and so does each of ours.
    const failed = numFailedTests + numRuntimeErrorTestSuites + this.failures.length;
    const skipped = numPendingTests + numTodoTests;
    const lines = [
      '',
      ...(this.services.length > 0 ? [describeServices(this.services, this.results)] : []),
      ...this.failures.map(failure => `failed: ${failure}`),
      ...(skipped > 0 ? [`skipped: ${skipped}`] : []),
      ...(this.cases === undefined ? [] : [this.cases]),
      `${numPassedTests} passed, ${failed} failed`,
    ];
    this.output.write(`${lines.join('\n')}\n`);
  }

  async forward(event, ...values) {
    for (const reporter of this.reporters) await reporter[event]?.(...values);
  }
};

for (const event of ['onRunStart', 'onTestStart', 'onTestCaseResult', 'onTestResult'])
  module.exports.prototype[event] = function (...values) {
    return this.forward(event, ...values);
  };

/** A file that tests add a line to, in whichever process they run: property-runs.ts for each property. */
function createFile(variable) {
  const file = join(mkdtempSync(join(tmpdir(), 'parse-webhooks-test-')), 'lines');
  writeFileSync(file, '');
  process.env[variable] = file;
  return file;
}

function takeLines(file) {
  const lines = readFileSync(file, 'utf8').trim().split('\n').filter(Boolean);
  rmSync(dirname(file), { recursive: true });
  return lines;
}

/** What test-services.ts published: empty in a run that needs no services. */
function readServices() {
  return Object.entries(JSON.parse(process.env.TEST_SERVICES ?? '{}')).map(([name, status]) => ({
    name,
    ...status,
  }));
}

function describeServices(services, results) {
  const parts = services.map(service => {
    if (service.available) return `${service.name} yes (${service.label})`;
    const blocks = countBlocksWithout(service, results);
    const verb = service.required ? 'failed' : 'skipped';
    return `${service.name} no (${verb} ${blocks} ${blocks === 1 ? 'suite' : 'suites'}: ${service.reason})`;
  });
  return `services: ${parts.join(', ')}`;
}

function countBlocksWithout(service, results) {
  return results.testResults
    .flatMap(file => file.testResults)
    .filter(test => test.title === service.missingTestName).length;
}

/** A required service that is not there, of which no failed test has told. */
function isUntold(service, results) {
  return service.required && !service.available && countBlocksWithout(service, results) === 0;
}

function describeUntold(service) {
  return `REQUIRED_SERVICES lists ${service.name}: ${service.reason}`;
}
