// The version of this package, as receivers see it in User-Agent. A unit test holds it against package.json.
export const version = '0.1.0';
