// GPUs for a machine without: the stand-in for NVIDIA's library, which reads them from a file beside it. The worker that is told
// of it draws on the CPU all the same.
import { copyFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How a GPU fares. */
interface Readings {
  utilisation: number;
  temperature: number;
}

export class Gpus {
  private readonly folder = mkdtempSync(join(tmpdir(), "tt-gpus-"));

  /** One GPU, that is idle. */
  constructor() {
    const library = process.env.FAKE_NVML_LIBRARY;
    if (!library) throw new Error("FAKE_NVML_LIBRARY must name the stand-in for NVML; scripts/test-web.sh does");
    copyFileSync(library, this.library);
    this.read({ utilisation: 0, temperature: 41 });
  }

  /** What a worker is told to load instead of the driver's. */
  get library(): string {
    return join(this.folder, "libnvidia-ml.so.1");
  }

  /** What the GPU says from now on. */
  read({ utilisation, temperature }: Readings): void {
    const gpu = {
      uuid: "GPU-00000000-0000-0000-0000-000000000001",
      name: "NVIDIA L4",
      memory_total: 24 * 2 ** 30,
      memory_used: 2 ** 30,
      utilisation,
      temperature,
      power_milliwatts: 65_000,
    };
    // In one move: the library reads the old file or the new one.
    const file = join(this.folder, "gpus.json");
    writeFileSync(`${file}.new`, JSON.stringify({ gpus: [gpu] }));
    renameSync(`${file}.new`, file);
  }

  forget(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
