// What the routes of hooks take and answer.
import { z } from 'zod';
import { settingShapes } from '../hooks/hook-settings';
import { pageParameters } from './api-parameters';
import { emptyAnswer, isoTime, nextCursor, secretRotation, type Operation } from './operation';

const { tls: _tls, ...plainSettings } = settingShapes;

const hookName = {
  functionName: z.string().optional(),
  className: z.string().optional(),
  triggerName: z.string().optional(),
};

const hook = z
  .strictObject({
    objectId: z.string(),
    createdAt: isoTime.optional(),
    updatedAt: isoTime.optional(),
    ...hookName,
    url: z.string(),
    ...z.object(plainSettings).partial().shape,
    tls: z.record(z.string(), z.string()).optional().meta({ description: 'The key is hidden.' }),
    oldSecretsExpireAt: z.array(isoTime).meta({ description: 'When each former secret stops signing.' }),
    health: z.strictObject({
      state: z.enum(['installed', 'broken']),
      reason: z.string().optional(),
      breaker: z.enum(['closed', 'open', 'half-open']),
      inFlight: z.int().min(0),
      calls: z.int().min(0),
      rejections: z.int().min(0),
      failures: z.int().min(0),
      failedOpen: z.int().min(0),
      lastSuccessAt: isoTime.optional(),
      lastFailureAt: isoTime.optional(),
      lastFailure: z.string().optional(),
    }),
  })
  .meta({ id: 'Hook', description: 'A hook in force on this node; secret values are hidden.' });

const refusedHook = z
  .strictObject({
    objectId: z.string().optional(),
    functionName: z.unknown().optional(),
    className: z.unknown().optional(),
    triggerName: z.unknown().optional(),
    url: z.unknown().optional(),
    health: z.strictObject({ state: z.literal('refused'), reason: z.string() }),
  })
  .meta({ id: 'RefusedHook', description: 'A row of `_Hooks` that is left where it is and not called.' });

const anyHook = z.union([hook, refusedHook]).meta({ id: 'AnyHook' });

const nullableSettings = Object.fromEntries(
  Object.entries(settingShapes).map(([name, shape]) => [name, shape.nullish()]),
);
const hookChange = z.strictObject({ url: z.string().optional(), ...nullableSettings }).meta({
  id: 'HookChange',
  description: 'What is not named stays; null takes a setting back to its default.',
});

export const listHooks = {
  method: 'get',
  path: '/hooks',
  operationId: 'listHooks',
  summary: 'All hooks with their settings and health',
  query: z.strictObject(pageParameters),
  answers: {
    200: {
      description: 'A page of hooks, by name',
      schema: z.strictObject({ results: z.array(anyHook), next: nextCursor }).meta({ id: 'HookPage' }),
    },
  },
} satisfies Operation;

function operationsAt(path: string, kind: string): readonly Operation[] {
  return [
    {
      method: 'get',
      path,
      operationId: `get${kind}Hook`,
      summary: 'One hook',
      answers: { 200: { description: 'The hook', schema: anyHook } },
    },
    {
      method: 'patch',
      path,
      operationId: `update${kind}Hook`,
      summary: 'Changes the url and settings of a hook',
      body: hookChange,
      answers: { 200: { description: 'The hook as it is now', schema: hook } },
    },
    {
      method: 'delete',
      path,
      operationId: `delete${kind}Hook`,
      summary: 'Removes a hook',
      answers: { 200: { description: 'It is gone', schema: emptyAnswer } },
    },
    {
      method: 'post',
      path: `${path}/secret/rotate`,
      operationId: `rotateSecretOf${kind}Hook`,
      summary: 'Gives a hook a new signing secret',
      body: secretRotation,
      answers: {
        201: {
          description: 'The hook, and its secret for the only time',
          schema: hook.extend({ secret: z.string() }).meta({ id: 'HookWithSecret' }),
        },
      },
    },
  ];
}

export const functionPath = '/hooks/functions/:functionName';
export const triggerPath = '/hooks/triggers/:className/:triggerName';

export const hookOperations: readonly Operation[] = [
  listHooks,
  ...operationsAt(functionPath, 'Function'),
  ...operationsAt(triggerPath, 'Trigger'),
];
