// What is not there.
import { Lost } from "@/components/features/lost";

export default function NotFound() {
  return <Lost />;
}
