// The ways in which clients send the same REST request: header keys, keys in the body as SDKs do, Basic auth, /batch.
import { masterKey, type Answer, type ParseApplication } from './parse-application';

/** Sends a request with the master key. */
export type Transport = (
  parse: ParseApplication,
  method: string,
  path: string,
  body?: Readonly<Record<string, unknown>>,
) => Promise<Answer>;

export const transports: Readonly<Record<string, Transport>> = {
  'a master key header': (parse, method, path, body) => parse.master(method, path, body && { body }),
  // What the JS SDK and with it the Dashboard send from a browser: no header that would need a CORS pre-flight.
  'credentials in a text/plain body': (parse, method, path, body) =>
    parse.client('POST', path, {
      headers: { 'Content-Type': 'text/plain', 'X-Parse-Application-Id': '' },
      body: {
        ...body,
        ...(method !== 'POST' && { _method: method }),
        _ApplicationId: parse.appId,
        _MasterKey: masterKey,
        _ClientVersion: 'js8.6.0',
        _InstallationId: '7c8f3a0e-8a7c-4d6a-9f63-2d1f6b1a5a11',
      },
    }),
  'Basic authorization': (parse, method, path, body) =>
    parse.client(method, path, {
      headers: {
        'X-Parse-Application-Id': '',
        Authorization: `Basic ${Buffer.from(`${parse.appId}:${masterKey}`).toString('base64')}`,
      },
      ...(body && { body }),
    }),
  '/batch': async (parse, method, path, body) => {
    const answer = await parse.master('POST', '/batch', {
      body: { requests: [{ method, path: `/parse${path}`, ...(body && { body }) }] },
    });
    const [{ success, error }] = answer.body as [{ success?: unknown; error?: unknown }];
    return { ...answer, status: error === undefined ? 200 : 400, body: error ?? success };
  },
};
