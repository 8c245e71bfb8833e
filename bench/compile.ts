// Compiles the package and the benchmark's processes to JavaScript, as they are published: tsx marks every function with
// its name when it is made (`keepNames` of esbuild), which costs code with many small functions what users never pay.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript';

export interface Compiled {
  /** Holds the `.js` of this folder's `.ts`. */
  readonly folder: string;
  remove(): void;
}

/**
 * Compiles `bench`, and `src` of this or another tree of the package, without checking types, into a folder of its own: two
 * runs do not meet.
 */
export function compileProcesses(project = dirname(__dirname)): Compiled {
  // Below this folder, so that its node_modules and the project's are found.
  const root = mkdtempSync(join(__dirname, '.build-'));
  const benchFiles = readdirSync(__dirname).filter(name => name.endsWith('.ts'));
  for (const name of benchFiles) compileFile(join(__dirname, name), join(root, 'bench', name));
  const sources = readdirSync(join(project, 'src'), { recursive: true, encoding: 'utf8' });
  for (const name of sources) {
    if (name.endsWith('.ts') && !name.endsWith('.d.ts'))
      compileFile(join(project, 'src', name), join(root, 'src', name));
  }
  return {
    folder: join(root, 'bench'),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

function compileFile(from: string, to: string): void {
  // As tsconfig.json says it.
  const compilerOptions = {
    target: ScriptTarget.ES2022,
    module: ModuleKind.CommonJS,
    esModuleInterop: true,
  };
  const { outputText } = transpileModule(readFileSync(from, 'utf8'), { fileName: from, compilerOptions });
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to.replace(/\.ts$/, '.js'), outputText);
}
