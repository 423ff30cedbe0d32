// A form's judge that is fetched when the form is first judged: nobody needs it to see the page.
import type { FieldValues, Resolver } from "react-hook-form";

type Schema = Parameters<typeof import("@hookform/resolvers/standard-schema").standardSchemaResolver>[0];

export function lazyResolver<T extends FieldValues>(load: () => Promise<Schema>): Resolver<T> {
  return async (values, context, options) => {
    const [{ standardSchemaResolver }, schema] = await Promise.all([
      import("@hookform/resolvers/standard-schema"),
      load(),
    ]);
    return (standardSchemaResolver(schema) as unknown as Resolver<T>)(values, context, options);
  };
}
