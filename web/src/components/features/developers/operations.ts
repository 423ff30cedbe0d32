// Reads an OpenAPI document into what people look for: per route its parameters, body and answer. Pure.

interface Schema {
  $ref?: string;
  type?: string | readonly string[];
  description?: string;
  properties?: Record<string, Schema>;
  required?: readonly string[];
  items?: Schema;
  enum?: readonly unknown[];
  const?: unknown;
  oneOf?: readonly Schema[];
  anyOf?: readonly Schema[];
}

interface Media {
  content?: Record<string, { schema?: Schema }>;
}

interface RawOperation {
  summary: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema?: Schema }[];
  requestBody?: Media;
  responses: Record<string, Media>;
}

export interface OpenApi {
  paths: Record<string, Record<string, RawOperation>>;
  components: { schemas: Record<string, Schema> };
}

export interface Property {
  name: string;
  type: string;
  required: boolean;
  description: string;
}

export interface Operation {
  method: string;
  path: string;
  summary: string;
  parameters: Property[];
  body: Property[];
  answer: Property[];
}

/** What a route is about: its path up to the first word that names a thing, such as `/api/v1/jobs`. */
export function groupOf(path: string): string {
  const parts = path.split("/").slice(1);
  const version = parts.findIndex((part) => /^v\d+$/.test(part));
  return `/${parts.slice(0, version < 0 ? 1 : version + 2).join("/")}`;
}

export function operationsOf(document: OpenApi): Operation[] {
  const resolve = (schema: Schema | undefined): Schema | undefined =>
    schema?.$ref ? document.components.schemas[schema.$ref.split("/").at(-1) ?? ""] : schema;
  const propertiesOf = (media: Media | undefined): Property[] => {
    const schema = resolve(Object.values(media?.content ?? {})[0]?.schema);
    return Object.entries(schema?.properties ?? {}).map(([name, property]) => ({
      name,
      type: typeOf(property),
      required: schema?.required?.includes(name) ?? false,
      description: property.description ?? resolve(property)?.description ?? "",
    }));
  };
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { summary, parameters = [], requestBody, responses }]) => ({
      method: method.toUpperCase(),
      path,
      summary,
      parameters: parameters.map(({ name, required = false, description = "", schema }) => ({
        name,
        type: typeOf(schema),
        required,
        description,
      })),
      body: propertiesOf(requestBody),
      answer: propertiesOf(Object.entries(responses).find(([status]) => status.startsWith("2"))?.[1]),
    })),
  );
}

/** A type in a word or two. */
function typeOf(schema: Schema | undefined): string {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1) ?? "";
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.items) return `${typeOf(schema.items)}[]`;
  const several = schema.oneOf ?? schema.anyOf;
  if (several)
    return several
      .map(typeOf)
      .filter((type) => type !== "null")
      .join(" | ");
  const types = typeof schema.type === "string" ? [schema.type] : (schema.type ?? []);
  return types.filter((type) => type !== "null").join(" | ");
}
