// @ts-check
// How good a password looks, for people who are typing one. 0 = the device refuses it, 4 = very good. The device's own rule
// (length, few letters, what everybody tries first) is repeated here so that nobody is told so only afterwards.

const COMMON = [
  "password", "passw0rd", "p@ssword", "p@ssw0rd", "qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "yxcvbnm",
  "zxcvbnm", "1q2w3e4r5t6y7u8i", "qazwsxedcrfv", "abcdefghijklmnopqrstuvwxyz", "01234567890123456789",
  "98765432109876543210", "iloveyou", "letmein", "welcome", "administrator", "changeme", "raspberry", "pikvm",
  "sunshine", "football",
];

/** @param {string} password @param {string} user */
export function strength(password, user) {
  const plain = password.toLowerCase();
  const core = plain.replace(/^[\d!-/:-@[-`{-~]+|[\d!-/:-@[-`{-~]+$/g, "");
  const letters = new Set(plain).size;
  const walks = (/** @type {string} */ row) => row.includes(plain) || (core !== "" && (core === row || (core.length > 4 && row.includes(core))));
  if (password.length < 8 || letters < 4 || (user && (plain === user || core === user)) || COMMON.some(walks)) return 0;
  const kinds = [/[a-z]/, /[A-Z]/, /\d/, /[^A-Za-z0-9]/].filter((kind) => kind.test(password)).length;
  const bits = letters * 2.5 + (password.length - letters) * 0.8 + kinds * 4;
  return Math.min(4, Math.max(1, Math.floor((bits - 16) / 9)));
}
