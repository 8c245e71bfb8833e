// Boxes for tests that are not about how keys are derived: no work factor.
import { createHash } from 'node:crypto';
import { createSecretBox, type SecretBox } from '../../src/hooks/secret-box';
import { systemClock, type Clock } from '../../src/shared/clock';

export function boxOf(encryptionKey: string, clock: Clock = systemClock): SecretBox {
  return createSecretBox(createHash('sha256').update(encryptionKey).digest(), clock);
}
