// Keeps Parse Server from writing its log to the output of a test run: a setup file of jest's integration project.
// Its first lines, 15 warnings of options to come, are written before the option `silent` of a server takes effect.
import defaults from 'parse-server/lib/defaults';

defaults.silent = true;
