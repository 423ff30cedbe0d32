// A link inside the studio.
export { default as Link } from "next/link";
