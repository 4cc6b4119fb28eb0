// @ts-check
// Texts to take away: by the clipboard, or selected where the browser forbids that.

import { toast } from "./dialog.js";
import { t } from "./i18n.js";

/** @param {HTMLInputElement | HTMLTextAreaElement} field whose text is copied */
export async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    toast(t("copy.done"));
  } catch {
    field.focus();
    field.select();
    toast(t("copy.by_hand"));
  }
}
