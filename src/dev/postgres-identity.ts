// Who runs PostgreSQL: it refuses to run as root, so root lends it the uid of an unprivileged account.
import { readFile, stat } from 'node:fs/promises';

/** The ids to start PostgreSQL with; undefined: those of this process. */
export type PostgresIdentity = { readonly uid: number; readonly gid: number } | undefined;

/**
 * The identity for the cluster in `clusterDirectory`: ours unless we are root, else the owner of an existing
 * cluster, else `nobody`. initdb looks its uid up in the password database, so an invented uid would not do.
 */
export async function choosePostgresIdentity(clusterDirectory: string): Promise<PostgresIdentity> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = await stat(clusterDirectory).catch(() => undefined);
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const accounts = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const nobody = /^nobody:[^:]*:(\d+):(\d+):/m.exec(accounts);
  return { uid: Number(nobody?.[1] ?? 65534), gid: Number(nobody?.[2] ?? 65534) };
}
