// `/`: make a picture.
import { Create } from "@/components/features/create/create";

export default function Page() {
  return <Create />;
}
