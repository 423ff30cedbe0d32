// A table that scrolls by itself where it is too wide, and can be reached there with the keyboard.
import type { ReactNode } from "react";

interface TableProps {
  label: string;
  heads: readonly ReactNode[];
  children: ReactNode;
}

export function Table({ label, heads, children }: TableProps) {
  return (
    <div
      role="group"
      aria-label={label}
      tabIndex={0}
      className="-mx-5 overflow-x-auto px-5 focus-visible:-outline-offset-2"
    >
      <table className="w-full text-left text-sm">
        <thead>
          <tr className="border-b text-xs text-muted-foreground">
            {heads.map((head, n) =>
              head === "" ? (
                <td key={n} />
              ) : (
                <th key={n} scope="col" className="py-2 pr-4 font-medium whitespace-nowrap last:pr-0 last:text-right">
                  {head}
                </th>
              ),
            )}
          </tr>
        </thead>
        <tbody className="[&_td]:py-2.5 [&_td]:pr-4 [&_td:last-child]:pr-0 [&_td:last-child]:text-right [&_tr]:border-b [&_tr:last-child]:border-0">
          {children}
        </tbody>
      </table>
    </div>
  );
}
