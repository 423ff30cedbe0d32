// The screens of somebody who is signed in or about to be, by their paths: what is held or measured for each.
export const SCREENS = [
  "/",
  "/gallery/",
  "/collections/",
  "/credits/",
  "/developers/",
  "/account/",
  "/status/",
  "/login/",
] as const;
