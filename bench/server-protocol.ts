// What a Parse Server process is told at its start, is asked and answers.
import { z } from 'zod';
import type { BenchProcess } from './processes';

/**
 * - `none`: Parse Server alone
 * - `cloud-code`: with triggers in cloud code that do nothing: what Parse Server spends on any trigger
 * - `installed`: with this package and nothing registered
 * - `built-in`: with its own webhooks
 * - `plugin`: with this package, the address guard closed but for loopback, `v1` signatures
 * - `before`: as `plugin`, from the tree that `--against` names; else there is none
 * - `plugin-unsigned`: with this package, every address open, a constant in place of the signature
 */
export const variants = [
  'none',
  'installed',
  'cloud-code',
  'built-in',
  'before',
  'plugin-unsigned',
  'plugin',
] as const;
export type Variant = (typeof variants)[number];

/** Nothing leaves the process. */
export function callsNobody(variant: Variant): boolean {
  return variant === 'none' || variant === 'installed' || variant === 'cloud-code';
}

export const serverSettingsShape = z.object({
  variant: z.enum(variants),
  databaseURI: z.string(),
  /** Options of Webhooks, beside those of the variant. */
  webhooks: z.record(z.string(), z.unknown()),
});

export const serverProtocol = {
  ready: z.object({
    port: z.number(),
    /** Of `parse.start()`. */
    startMs: z.number(),
    startCpuMs: z.number(),
  }),
  request: z.object({
    /** Collects garbage first. */
    collect: z.boolean().optional(),
    /** Starts a CPU profile, or writes it to this path. */
    profile: z.union([z.literal('start'), z.object({ path: z.string() })]).optional(),
  }),
  answer: z.object({
    /** Since the start of the process: user and system together. */
    cpuUs: z.number(),
    /** With buffers, which are outside of V8's heap. */
    heapUsedBytes: z.number(),
    rssBytes: z.number(),
  }),
};

export const appId = 'bench';
export const masterKey = 'bench-master-key-of-24';

export type ServerProcess = BenchProcess<
  z.infer<typeof serverProtocol.ready>,
  z.infer<typeof serverProtocol.request>,
  z.infer<typeof serverProtocol.answer>
>;
