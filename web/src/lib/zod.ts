// Zod, by the piece: `import * as z` would bring every language's error texts along. In the form a strict content policy
// allows: it never compiles code.
import { config } from "zod/mini";

config({ jitless: true });

export { minLength, object, regex, string } from "zod/mini";
