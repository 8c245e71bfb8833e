declare module 'router-broken/lib/layer' {
  export default class Layer {
    constructor(path: string, options: object, handler: () => void);
    match(path: string): unknown;
  }
}
