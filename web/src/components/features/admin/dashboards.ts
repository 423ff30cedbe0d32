// The dashboards that come with the chart, by the last part of their uid.
export const DASHBOARDS = [
  "overview",
  "queues",
  "gpus",
  "models",
  "api",
  "credits",
  "money",
  "operator",
  "storage",
] as const;
