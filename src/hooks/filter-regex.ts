// A Parse query's $regex and $options as a JavaScript RegExp. Parse passes them to MongoDB or PostgreSQL, so they are
// written in the Perl dialect; what JavaScript cannot say is refused rather than read differently.

export type CompiledRegex =
  { readonly kind: 'regex'; readonly regex: RegExp } | { readonly kind: 'invalid'; readonly detail: string };

/**
 * `options` are Parse's letters `imsu`; `x` is refused. `\Q…\E` is taken literally: the SDKs' startsWith, endsWith and
 * contains write it. The pattern is the master key holder's own, so its running time is not bounded here.
 */
export function compileRegex(pattern: string, options: string): CompiledRegex {
  if (options.includes('x')) return { kind: 'invalid', detail: '$options x is not supported' };
  if (!/^[imsu]*$/.test(options))
    return { kind: 'invalid', detail: '$options must be letters of i, m, s, u' };
  const flags = [...new Set(options)].join('');
  try {
    return { kind: 'regex', regex: new RegExp(unquote(pattern), flags) };
  } catch {
    // V8's message repeats the pattern; the operator has it already.
    return { kind: 'invalid', detail: '$regex is no valid regular expression' };
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
