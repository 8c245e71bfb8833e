// A Parse query's $regex and $options, for an engine without backtracking: clients choose the text, and one save must not
// hold the process. Parse passes patterns to MongoDB or PostgreSQL, so they are written in the Perl dialect; what RE2
// cannot say is refused rather than read differently.
import { RE2JS } from 're2js';

export type CompiledRegex =
  | {
      readonly kind: 'regex';
      /** Whether the text contains a match, in steps of at most {@link maxRegexSize} per character. */
      readonly isIn: (text: string) => boolean;
    }
  | { readonly kind: 'invalid'; readonly detail: string };

/**
 * Instructions of one compiled pattern; a literal character is about one, and counted repetitions multiply. The dearest
 * pattern found, `(((a{1,10}){1,10}){1,10})$`, has 2000 and takes 24 µs per character; others take less than 0.2 µs.
 */
export const maxRegexSize = 500;

const flagOf: Readonly<Record<string, number>> = {
  i: RE2JS.CASE_INSENSITIVE,
  m: RE2JS.MULTILINE,
  s: RE2JS.DOTALL,
};

/**
 * `options` are Parse's letters `imsu`, of which `u` always holds; `x` is refused. `\Q…\E` is taken literally: the SDKs'
 * startsWith, endsWith and contains write it. Lookaround and backreferences have no bounded running time and are refused.
 */
export function compileRegex(pattern: string, options: string): CompiledRegex {
  if (options.includes('x')) return { kind: 'invalid', detail: '$options x is not supported' };
  if (!/^[imsu]*$/.test(options))
    return { kind: 'invalid', detail: '$options must be letters of i, m, s, u' };
  const flags = [...new Set(options)].reduce((sum, letter) => sum | (flagOf[letter] ?? 0), 0);
  const unquoted = unquote(pattern);
  try {
    const regex = RE2JS.compile(unquoted, flags);
    if (regex.programSize() > maxRegexSize)
      return {
        kind: 'invalid',
        detail: `$regex is too large: at most ${maxRegexSize} steps, repetitions counted`,
      };
    return { kind: 'regex', isIn: text => regex.matcher(text).find() };
  } catch {
    // The engine's message repeats the pattern; the operator has it already.
    return {
      kind: 'invalid',
      detail: isJavaScriptRegex(unquoted)
        ? '$regex uses what RE2 does not have, such as lookaround, backreferences or more than 1000 repetitions'
        : '$regex is no valid regular expression',
    };
  }
}

function isJavaScriptRegex(pattern: string): boolean {
  try {
    return new RegExp(pattern).source !== '';
  } catch {
    return false;
  }
}

function unquote(pattern: string): string {
  // A backslash pair is consumed as such, so that `\\Q` (a backslash, then Q) opens nothing. Without \E the quotation
  // lasts to the end, as in PCRE.
  return pattern.replace(
    /\\Q([\s\S]*?)(?:\\E|$)|\\E|\\[\s\S]/g,
    (token: string, quoted: string | undefined) => {
      if (quoted !== undefined) return quoted.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
      return token === '\\E' ? '' : token;
    },
  );
}
