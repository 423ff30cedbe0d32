// What the generator's form takes before anything is asked of the API.
import { promptMisfit } from "@/components/features/create/prompt";
import { object, refine, string } from "@/lib/zod";

export const generatorSchema = object({ prompt: string().check(refine((text) => promptMisfit(text) === 0)) });
