// The Webhooks page of Parse Dashboard 9.2 as a person uses it. Its class names are hashes of each release, so things
// are found by role and text.
import type { Locator, Page, Response } from 'playwright-core';

/** What a row shows: Function or Trigger, the class, the function's or trigger's name, and the URL. */
export type HookRow = readonly [type: string, className: string, method: string, destination: string];

export class WebhooksPage {
  readonly #page: Page;
  readonly #url: string;

  constructor(page: Page, url: string) {
    this.#page = page;
    this.#url = url;
  }

  async open(): Promise<void> {
    const listed = this.#answers('/hooks/triggers');
    await this.#page.goto(this.#url);
    await listed;
    await this.#toolbarButton.waitFor();
  }

  async reload(): Promise<void> {
    const listed = this.#answers('/hooks/triggers');
    await this.#page.reload();
    await listed;
    await this.#toolbarButton.waitFor();
  }

  /** The rows of the table, waiting until one of them has `text`. */
  async rowsWith(text: string): Promise<readonly HookRow[]> {
    await this.#rowWith(text).first().waitFor();
    return this.#rows();
  }

  /** The rows of the table, waiting until none of them has `text`. */
  async rowsWithout(text: string): Promise<readonly HookRow[]> {
    await this.#rowWith(text).waitFor({ state: 'detached' });
    return this.#rows();
  }

  /** Fills in the dialog for a function and presses Create. The answer is the server's. */
  async createFunction(functionName: string, url: string): Promise<Response> {
    await this.#toolbarButton.click();
    await this.#field('Function name').fill(functionName);
    await this.#field('Webhook URL').fill(url);
    return this.#submit('Create', '/hooks/functions');
  }

  /** Fills in the dialog for a trigger and presses Create. The answer is the server's. */
  async createTrigger(triggerName: string, className: string, url: string): Promise<Response> {
    await this.#toolbarButton.click();
    await this.#choose('Webhook type', triggerName);
    await this.#choose('Choose a Class', className);
    await this.#field('Webhook URL').fill(url);
    return this.#submit('Create', '/hooks/triggers');
  }

  /** Opens the row with `text` by a click on it, changes its URL and presses Save. */
  async edit(text: string, url: string): Promise<Response> {
    await this.#rowWith(text).getByRole('cell').first().click();
    await this.#field('Webhook URL').fill(url);
    return this.#submit('Save', '/hooks/');
  }

  /** Presses the bin in the row with `text`, and Delete in the dialog. */
  async delete(text: string): Promise<Response> {
    await this.#rowWith(text).getByRole('button').click();
    return this.#submit('Delete', '/hooks/');
  }

  /** Waits until the dialog is gone, as it is when the server did what it was asked. */
  async dialogClosed(): Promise<void> {
    await this.#dialog.waitFor({ state: 'detached' });
  }

  /**
   * Waits until the dialog shows `text` where it can be read. Errors slide in from a height of 0, cut off but visible
   * for Playwright; a click on trial waits until the text stands still and nothing covers it.
   */
  async dialogSays(text: string): Promise<void> {
    await this.#dialog.getByText(text, { exact: true }).click({ trial: true });
  }

  async cancel(): Promise<void> {
    await this.#dialog.getByRole('button', { name: 'Cancel' }).click();
    await this.dialogClosed();
  }

  /** An empty table has a second button of that name below it. */
  get #toolbarButton(): Locator {
    return this.#page.getByRole('button', { name: 'Create a Webhook' }).first();
  }

  get #dialog(): Locator {
    return this.#page.locator('[data-modal="true"]');
  }

  async #rows(): Promise<readonly HookRow[]> {
    const rows = await this.#page
      .locator('tr')
      .filter({ has: this.#page.locator('td') })
      .all();
    const cells = await Promise.all(rows.map(row => row.locator('td').allInnerTexts()));
    return cells.map(([type = '', className = '', method = '', destination = '']) => [
      type,
      className,
      method,
      destination,
    ]);
  }

  #rowWith(text: string): Locator {
    return this.#page.locator('tr').filter({ has: this.#page.getByText(text, { exact: true }) });
  }

  /** Labels are not tied to what they label: what is meant follows in the document. */
  #field(label: string): Locator {
    return this.#dialog.getByText(label, { exact: true }).locator('xpath=following::input[1]');
  }

  async #choose(label: string, option: string): Promise<void> {
    await this.#dialog
      .getByText(label, { exact: true })
      .locator('xpath=following::*[@role="combobox"][1]')
      .click();
    await this.#page.getByRole('option', { name: option, exact: true }).click();
  }

  async #submit(button: string, path: string): Promise<Response> {
    const [answer] = await Promise.all([
      this.#answers(path),
      this.#dialog.getByRole('button', { name: button, exact: true }).click(),
    ]);
    return answer;
  }

  #answers(path: string): Promise<Response> {
    return this.#page.waitForResponse(response => new URL(response.url()).pathname.includes(path));
  }
}
