// The request of a picture in the languages people call the API with.
import type { JobRequest } from "@/lib/api/client";

export type Recipe = "curl" | "python" | "kubectl";

/** The request as a program would send it. The key is named, never shown. */
export function recipe(kind: Recipe, request: JobRequest, origin: string): string {
  const json = JSON.stringify(request, null, 2);
  switch (kind) {
    case "curl":
      return `curl -s ${origin}/api/v1/jobs \\\n  -H "Authorization: Bearer $TINTYPE_API_KEY" \\\n  -H 'Content-Type: application/json' \\\n  -d '${json.replaceAll("'", "'\\''")}'`;
    case "python":
      return `import os\nimport httpx\n\njob = httpx.post(\n    "${origin}/api/v1/jobs",\n    headers={"Authorization": f"Bearer {os.environ['TINTYPE_API_KEY']}"},\n    json=${pythonOf(request)},\n).json()\nprint(job["id"])`;
    case "kubectl":
      return `apiVersion: tintype.dev/v1alpha1\nkind: GenerationJob\nmetadata:\n  generateName: picture-\nspec:\n  request:\n${yamlOf(request, 4)}`;
  }
}

const pythonOf = (value: unknown): string =>
  JSON.stringify(value, null, 4)
    .replace(/: true\b/g, ": True")
    .replace(/: false\b/g, ": False")
    .replace(/: null\b/g, ": None")
    .replace(/\n/g, "\n    ");

/** JSON values are YAML values; only the top level is written on lines of its own. */
const yamlOf = (request: JobRequest, indent: number): string =>
  Object.entries(request)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${" ".repeat(indent)}${name}: ${JSON.stringify(value)}`)
    .join("\n");
