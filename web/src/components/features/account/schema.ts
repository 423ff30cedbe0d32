// What signing in and up take.
import { LIMITS } from "@/lib/api/limits.gen";
import { minLength, object, regex, string } from "@/lib/zod";

export const entranceSchema = (kind: "login" | "signup") =>
  object({
    email: string().check(regex(/^\S+@\S+$/)),
    password: string().check(minLength(kind === "signup" ? LIMITS.password.min : 1)),
  });
