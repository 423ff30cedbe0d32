// Where we are and how to go elsewhere. The one file outside `app/` that knows the router, beside `ui/link`.
export { usePathname, useRouter } from "next/navigation";
