// Sentry: errors of the pages, for people who agree. Fetched when it is needed; says what broke, not what somebody wrote.
import type { ErrorEvent } from "@sentry/react";

/** Without what holds a prompt or opens a picture: the search, a picture's name, what was clicked and asked before. */
export function bare(event: ErrorEvent): ErrorEvent {
  const { breadcrumbs: _, user: __, request, ...rest } = event;
  const url = request?.url?.split(/[?#]/)[0]?.replace(/\/g\/[^/]+/, "/g/_");
  return { ...rest, ...(url && { request: { url } }) };
}

/** Errors are told from now on, until what it answers is called. */
export async function tellErrors(dsn: string): Promise<() => void> {
  const { close, init } = await import("@sentry/react");
  init({
    dsn,
    // Nothing of a person or a request.
    dataCollection: { userInfo: false, cookies: false, httpHeaders: false, httpBodies: [], urlQueryParams: false },
    sendClientReports: false,
    maxBreadcrumbs: 0,
    // Errors nobody caught, and no more: no sessions, no traces, no recording.
    defaultIntegrations: false,
    integrations: await handlers(),
    beforeSend: bare,
  });
  return () => void close(0);
}

async function handlers() {
  const { dedupeIntegration, eventFiltersIntegration, globalHandlersIntegration } = await import("@sentry/react");
  return [globalHandlersIntegration(), dedupeIntegration(), eventFiltersIntegration()];
}
