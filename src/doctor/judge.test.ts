/** Recorded machines and what doctor says of each: the cases that users meet, told apart. */
import { expect, test } from "vitest";
import type { MachineFacts } from "./facts.ts";
import { judgeMachine } from "./judge.ts";
import { absent, failed, info, machine, nvidia, onCard, plain, python, rightCheck } from "../../test/recorded-machines.ts";

const idsOf = (facts: MachineFacts): readonly string[] => judgeMachine(facts).findings.map(({ id }) => id);

test("nothing is said of a machine where all is well, with a card or without", () => {
  expect(judgeMachine(plain)).toMatchObject({
    findings: [],
    verdict: { canTrain: true, headline: "Gesso can train here, on the processor (A processor (8 threads))." },
  });
  expect(judgeMachine(onCard({}))).toMatchObject({
    findings: [],
    verdict: { canTrain: true, headline: "Gesso can train here, on NVIDIA GeForce RTX 4090." },
  });
});

const card4090 = nvidia("NVIDIA GeForce RTX 4090", "8.9");
const adapter = [{ vendor: "NVIDIA", name: null }] as const;
const failedSmi = (said: string): MachineFacts => {
  return machine({ gpu: { nvidia: { status: "failed", said }, adapters: adapter } });
};
const nodes = plain.gpu.nodes ?? { nvidia: false, kfd: "absent", dxg: false, nouveau: false };

/** Each machine, what is found first, and what its mend must name. */
const cases: readonly (readonly [what: string, facts: MachineFacts, id: string, mend: RegExp])[] = [
  [
    "a driver too old for the CUDA of the PyTorch",
    machine({
      gpu: { nvidia: nvidia("NVIDIA GeForce RTX 3060", "8.6", { driver: "535.183.01", cuda: "12.2" }) },
      facts: {
        pythons: [
          python(
            info("2.9.1+cu130", {
              cuda: "13.0",
              gpuProblem: "The NVIDIA driver on your system is too old (found version 12020).",
            }),
          ),
        ],
      },
    }),
    "torch-driver-too-old",
    /Update NVIDIA's driver, or keep it: .*2\.9\.1 \(cu128\)/,
  ],
  [
    "an RTX 5090 with a PyTorch from before it",
    onCard({
      gpu: { nvidia: nvidia("NVIDIA GeForce RTX 5090", "12.0") },
      facts: {
        pythons: [
          python(
            info(
              "2.6.0+cu124",
              { cuda: "12.4", archs: ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"], capability: "12.0" },
              { device: "cuda:0", name: "NVIDIA GeForce RTX 5090" },
            ),
          ),
        ],
      },
    }),
    "torch-no-code",
    /cu130/,
  ],
  [
    "a GTX 1080 with a PyTorch that has dropped it",
    onCard({
      gpu: { nvidia: nvidia("NVIDIA GeForce GTX 1080", "6.1") },
      facts: {
        pythons: [
          python(
            info(
              "2.9.1+cu130",
              { cuda: "13.0", archs: ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"], capability: "6.1" },
              { device: "cuda:0", name: "NVIDIA GeForce GTX 1080" },
            ),
          ),
        ],
      },
    }),
    "torch-no-code",
    /cu126/,
  ],
  [
    "a PyTorch for the processor beside a card",
    machine({ gpu: { nvidia: card4090 }, facts: { pythons: [python(info("2.9.1+cpu", {}))] } }),
    "torch-cpu-build",
    /gesso setup torch installs PyTorch 2\.9\.1 \(cu130\)/,
  ],
  [
    "a PyTorch for AMD beside an NVIDIA card",
    machine({ gpu: { nvidia: card4090 }, facts: { pythons: [python(info("2.9.1+rocm6.4", { hip: "6.4" }))] } }),
    "torch-cpu-build",
    /cu130/,
  ],
  ["a card and no PyTorch", machine({ gpu: { nvidia: card4090 } }), "card-unused", /gesso setup torch/],
  [
    "a card and no driver",
    machine({ gpu: { adapters: adapter } }),
    "nvidia-no-driver",
    /Install NVIDIA's driver from your distribution/,
  ],
  ["nouveau", machine({ gpu: { adapters: adapter, nodes: { ...nodes, nouveau: true } } }), "nouveau", /NVIDIA's own driver/],
  [
    "a driver without nvidia-smi",
    machine({ gpu: { adapters: adapter, nodes: { ...nodes, nvidia: true } } }),
    "nvidia-smi-missing",
    /nvidia-utils/,
  ],
  [
    "a container without the card",
    machine({ gpu: { adapters: adapter }, system: { container: "Docker" } }),
    "container-no-card",
    /--gpus all/,
  ],
  [
    "a driver that was updated under way",
    failedSmi("Failed to initialize NVML: Driver/library version mismatch NVML library version: 550.90"),
    "nvidia-driver-mismatch",
    /Restart/,
  ],
  [
    "a kernel without the driver's module",
    failedSmi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
    "nvidia-driver-not-loaded",
    /Secure Boot/,
  ],
  [
    "a container that lost the card",
    failedSmi("Failed to initialize NVML: Unknown Error"),
    "nvidia-container-lost",
    /container anew/,
  ],
  ["WSL that Windows hands nothing on to", failedSmi("Failed to initialize NVML: GPU access blocked by the operating system"), "nvidia-wsl-blocked", /wsl --update/], // prettier-ignore
  ["a card that fell off the bus", failedSmi("Unable to determine the device handle for GPU0000:01:00.0: GPU is lost."), "nvidia-card-lost", /power/], // prettier-ignore
  ["a failure that nobody knows", failedSmi("Something new"), "nvidia-driver-failed", /install NVIDIA's driver again/],
  [
    "a driver that hangs",
    machine({ gpu: { nvidia: { status: "timed-out", afterMs: 10_000 }, adapters: adapter } }),
    "nvidia-hangs",
    /Restart/,
  ],
  [
    "cards hidden by a variable",
    machine({ gpu: { nvidia: card4090 }, facts: { variables: { CUDA_VISIBLE_DEVICES: "" } } }),
    "cards-hidden",
    /Unset CUDA_VISIBLE_DEVICES/,
  ],
  [
    "WSL 2 without a card",
    machine({ system: { wsl: 2, kernel: "5.15.167.4-microsoft-standard-WSL2" } }),
    "wsl-no-card",
    /wsl --update/,
  ],
  ["WSL 1", machine({ system: { wsl: 1 } }), "wsl1", /set-version/],
  ...(
    [
      [
        "fabric manager",
        "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
        "torch-fabric-manager",
        /fabricmanager/,
      ],
      [
        "libcuda of another driver",
        "Error 804: forward compatibility was attempted on non supported HW",
        "torch-driver-mismatch",
        /Restart/,
      ],
      [
        "after sleep",
        "CUDA unknown error - this may be due to an incorrectly set up environment",
        "torch-driver-stuck",
        /nvidia_uvm/,
      ],
      ["exclusive mode", "CUDA error: all CUDA-capable devices are busy or unavailable", "torch-card-busy", /exclusive/],
      ["nothing visible", "No CUDA GPUs are available", "torch-no-devices", /CUDA_VISIBLE_DEVICES/],
      ["a full card", "CUDA error: out of memory", "torch-card-full", /Close/],
      ["a reason that nobody knows", "Something new", "torch-no-card", /gesso doctor again/],
    ] as const
  ).map(([what, gpuProblem, id, mend]) => {
    const pythons = [python(info("2.9.1+cu130", { cuda: "13.0", gpuProblem }))];
    return [
      `a PyTorch that sees no card: ${what}`,
      machine({ gpu: { nvidia: card4090 }, facts: { pythons } }),
      id,
      mend,
    ] as const;
  }),
  ...(
    [
      ["NumPy is missing", "No module named 'numpy'", "numpy-missing", /pip install numpy/],
      ["NumPy of another ABI", "RuntimeError: Numpy is not available", "numpy-mismatch", /numpy<2/],
      [
        "a DLL is missing",
        'OSError: [WinError 126] The specified module could not be found. Error loading "C:\\x\\torch\\lib\\fbgemm.dll"',
        "torch-dll",
        /Visual C\+\+/,
      ],
      [
        "the page file is small",
        'OSError: [WinError 1455] The paging file is too small. Error loading "cudnn64_9.dll"',
        "torch-page-file",
        /page file/,
      ],
      [
        "a library of CUDA is missing",
        "ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory",
        "torch-cuda-library",
        /LD_LIBRARY_PATH/,
      ],
      [
        "another cuBLAS is found first",
        "ImportError: undefined symbol: __nvJitLinkComplete_12_4, version libnvJitLink.so.12",
        "torch-cuda-library",
        /LD_LIBRARY_PATH/,
      ],
      [
        "the C++ library is old",
        "ImportError: /lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found",
        "torch-glibc",
        /newer system/,
      ],
      [
        "another processor's",
        "ImportError: dlopen(x): tried: 'x' (mach-o file, but is an incompatible architecture)",
        "torch-architecture",
        /own processor/,
      ],
      ["an old processor", "The PyTorch worker was ended by SIGILL", "torch-processor", /--engine ort/],
      ["a reason that nobody knows", "ImportError: something new", "torch-fails", /setup torch/],
    ] as const
  ).map(([what, said, id, mend]) => {
    return [
      `a PyTorch that does not load: ${what}`,
      machine({ facts: { pythons: [python(failed(said))] } }),
      id,
      mend,
    ] as const;
  }),
  [
    "a PyTorch that is too old for Gesso",
    machine({ facts: { pythons: [python(failed("PyTorch 2.1.0", "version"))] } }),
    "torch-too-old",
    /setup torch/,
  ],
  [
    "a PyTorch that does not load in time",
    machine({ facts: { pythons: [python({ status: "timed-out", afterMs: 120_000 })] } }),
    "torch-slow",
    /Try again/,
  ],
  ["a 32-bit Python", machine({ facts: { pythons: [python(null, { bits: 32 })] } }), "python-32-bit", /64-bit/],
  ["a Python too new", machine({ facts: { pythons: [python(null, { version: "3.15.0" })] } }), "python-too-new", /--python/],
  ["a Python too old", machine({ facts: { pythons: [python(null, { version: "3.8.10" })] } }), "python-too-old", /--python/],
  ["a Python without the lock", machine({ facts: { pythons: [python(null, { isFreeThreaded: true })] } }), "python-free-threaded", /usual/], // prettier-ignore
  [
    "an environment whose Python is gone",
    machine({ facts: { pythons: [{ ...python(null), origin: "gesso", answer: absent }] } }),
    "python-broken",
    /gesso setup torch again/,
  ],
  [
    "a PyTorch with a card that nobody pointed at",
    machine({
      gpu: { nvidia: card4090 },
      facts: {
        pythons: [
          {
            ...python(
              info(
                "2.9.1+cu130",
                { cuda: "13.0", archs: ["sm_86"], capability: "8.9" },
                { device: "cuda:0", name: "RTX 4090" },
              ),
            ),
            origin: "search path",
            path: "python3",
          },
        ],
      },
    }),
    "torch-not-pointed-at",
    /setup torch --python/,
  ],
  [
    "conda and venv at once",
    onCard({
      facts: {
        variables: { VIRTUAL_ENV: "/home/eva/venv", CONDA_PREFIX: "/home/eva/conda" },
        choice: { ...plain.choice, engine: "torch", python: "/home/eva/venv/bin/python", device: "cuda:0" },
      },
    }),
    "environments-mixed",
    /deactivate/,
  ],
  [
    "libraries put before PyTorch's own",
    onCard({ facts: { variables: { LD_LIBRARY_PATH: "/usr/local/cuda-11.8/lib64:/opt/x" } } }),
    "library-path",
    /unset LD_LIBRARY_PATH/,
  ],
  ["PYTHONPATH", onCard({ facts: { variables: { PYTHONPATH: "/home/eva/x" } } }), "pythonpath", /Unset/],
  ["PYTHONHOME", onCard({ facts: { variables: { PYTHONHOME: "/usr" } } }), "pythonhome", /Unset/],
  [
    "a card that others fill",
    onCard({
      gpu: {
        nvidia: nvidia("NVIDIA GeForce RTX 4090", "8.9", {
          gpus: [{ name: "NVIDIA GeForce RTX 4090", capability: "8.9", memoryBytes: 24 * 2 ** 30, usedBytes: 20 * 2 ** 30 }],
          processes: [{ name: "python3", memoryBytes: 19 * 2 ** 30 }],
        }),
      },
    }),
    "card-busy",
    /Close/,
  ],
  [
    "a card too small for SDXL",
    onCard({
      gpu: {
        nvidia: nvidia("NVIDIA GeForce GTX 1650", "7.5", {
          gpus: [{ name: "NVIDIA GeForce GTX 1650", capability: "7.5", memoryBytes: 4 * 2 ** 30, usedBytes: 0 }],
        }),
      },
    }),
    "card-small",
    /SD 1\.5/,
  ],
  ["Windows that spills into memory", onCard({ system: { platform: "win32" } }), "windows-spill", /Sysmem Fallback/],
  ["an AMD card without ROCm", machine({ gpu: { adapters: [{ vendor: "AMD", name: null }] } }), "amd-no-rocm", /amdgpu-dkms/],
  [
    "an AMD card in a container without it",
    machine({ gpu: { adapters: [{ vendor: "AMD", name: null }] }, system: { container: "Docker" } }),
    "amd-container",
    /--device \/dev\/kfd/,
  ],
  [
    "an AMD card that this user may not use",
    machine({ gpu: { adapters: [{ vendor: "AMD", name: null }], nodes: { ...nodes, kfd: "forbidden" } } }),
    "amd-permission",
    /render,video/,
  ],
  [
    "an AMD card on Windows",
    machine({
      gpu: { adapters: [{ vendor: "AMD", name: "AMD Radeon RX 7900 XTX" }], nodes: null },
      system: { platform: "win32" },
    }),
    "amd-windows",
    /Linux/,
  ],
  [
    "a PyTorch for CUDA beside an AMD card",
    machine({
      gpu: { adapters: [{ vendor: "AMD", name: null }], nodes: { ...nodes, kfd: "usable" } },
      facts: { pythons: [python(info("2.9.1+cu128", { cuda: "12.8" }))] },
    }),
    "torch-no-rocm",
    /rocm6\.4/,
  ],
  [
    "an AMD card that ROCm has no code for",
    onCard({
      gpu: {
        nvidia: absent,
        adapters: [{ vendor: "AMD", name: null }],
        nodes: { ...nodes, kfd: "usable" },
        amd: {
          status: "ok",
          value: { driver: "6.8", gpus: [{ name: "RX 6600", memoryBytes: 8e9, usedBytes: 0, architecture: "gfx1032" }] },
        },
      },
      facts: {
        pythons: [
          python(
            info(
              "2.9.1+rocm6.4",
              { hip: "6.4", archs: ["gfx1030", "gfx1100"], capability: "gfx1032" },
              { device: "cuda:0", name: "RX 6600" },
            ),
          ),
        ],
      },
    }),
    "torch-no-code",
    /HSA_OVERRIDE_GFX_VERSION/,
  ],
  [
    "a Mac whose PyTorch finds no GPU",
    machine({
      system: { platform: "darwin", arch: "arm64", name: "macOS 12.1" },
      facts: { pythons: [python(info("2.9.1", {}), { machine: "arm64" })] },
    }),
    "torch-no-mps",
    /macOS/,
  ],
  [
    "a Mac with Intel's Python",
    machine({
      system: { platform: "darwin", arch: "arm64" },
      facts: { pythons: [python(info("2.2.2", {}), { machine: "x86_64" })] },
    }),
    "torch-rosetta",
    /Apple silicon/,
  ],
  ["a Mac with Intel's Node", machine({ system: { platform: "darwin", isTranslated: true } }), "rosetta", /arm64/],
  ["a Mac without PyTorch", machine({ system: { platform: "darwin", arch: "arm64" } }), "card-unused", /mps/],
  ["an old Node", machine({ system: { node: "18.20.4" } }), "node-old", /20\.19/],
  ["a 32-bit Node", machine({ system: { arch: "ia32" } }), "node-arch", /64-bit/],
  ["Alpine", machine({ system: { hasGlibc: false } }), "no-glibc", /slim/],
  ["no AVX2", machine({ facts: { processor: { ...plain.processor, instructions: [] } } }), "no-avx2", /another machine/],
  ["a container with little memory", machine({ facts: { memory: { totalBytes: 64e9, availableBytes: 1e9, limitBytes: 1e9 } } }), "memory-small", /container more memory/], // prettier-ignore
  [
    "full memory",
    machine({ facts: { memory: { totalBytes: 16e9, availableBytes: 1e9, limitBytes: null } } }),
    "memory-full",
    /Close/,
  ],
  ...(
    [
      ["a full disk", { freeBytes: 100e6 }, "disk-full-runs", /Make room/],
      ["a small disk", { freeBytes: 2e9 }, "disk-small-runs", /before you train SDXL/],
      ["a disk that cannot be written", { problem: "EROFS" }, "disk-unwritable-runs", /--out/],
      ["a network drive", { remote: "NFS" }, "disk-remote-runs", /--out/],
      ["a slow disk", { writeBytesPerSecond: 8e6 }, "disk-slow-runs", /--out/],
    ] as const
  ).map(([what, changes, id, mend]) => {
    const disks = plain.disks.map((disk) => (disk.role === "runs" ? { ...disk, ...changes } : disk));
    return [what, machine({ facts: { disks } }), id, mend] as const;
  }),
  [
    "an engine that computes wrong",
    onCard({
      facts: {
        engines: [
          ...plain.engines,
          {
            ...{ engine: "torch", python: "/home/eva/venv/bin/python", device: "cuda:0", name: "A card" },
            check: { ...rightCheck, matmul: { ...rightCheck.matmul, worstError: 0.5 } },
          },
        ],
      },
    }),
    "torch-wrong",
    /--engine ort/,
  ],
  ["an ONNX Runtime that does not load", machine({ facts: { engines: [{ engine: "ort", python: null, problem: "no library" }] } }), "ort-fails", /npm ci/], // prettier-ignore
];

test.each(cases)("%s is found, with its mend", (_, facts, id, mend) => {
  const { findings } = judgeMachine(facts);
  const finding = findings.find((found) => found.id === id);
  expect(idsOf(facts)).toContain(id);
  expect(finding?.mend).toMatch(mend);
  // Sentences, on one line each.
  expect(finding?.message).toMatch(/^[^\n]+\.$/);
  expect(finding?.mend).toMatch(/^[^\n]+$/);
});

test("each machine of a card has one broken thing, not several guesses", () => {
  const broken = cases.map(
    ([what, facts]) => [what, judgeMachine(facts).findings.filter(({ mark }) => mark === "broken").length] as const,
  );
  expect(broken.filter(([, count]) => count > 1)).toEqual([]);
});

test("what keeps any run from beginning is a verdict of its own; a card that is not used is not", () => {
  const verdicts = Object.fromEntries(cases.map(([what, facts]) => [what, judgeMachine(facts).verdict.canTrain]));
  const hopeless = Object.entries(verdicts).flatMap(([what, canTrain]) => (canTrain ? [] : [what]));
  expect(hopeless).toEqual([
    "an old Node",
    "a 32-bit Node",
    "Alpine",
    "a container with little memory",
    "a full disk",
    "a disk that cannot be written",
    "an engine that computes wrong",
    "an ONNX Runtime that does not load",
  ]);
  expect(judgeMachine(machine({ gpu: { nvidia: card4090 } })).verdict.outlook).toContain("The graphics card is not used");
});

test("a Python that was given and has no PyTorch means that a run with it cannot begin", () => {
  const { verdict } = judgeMachine(machine({ facts: { choiceProblem: "Cannot start /nope: it is not there." } }));
  expect(verdict).toMatchObject({
    canTrain: false,
    headline: "With the Python that was given, a run cannot begin. Cannot start /nope: it is not there.",
  });
});

test("a driver that is broken is told once, not again for every PyTorch that sees no card", () => {
  const gpuProblem = "Found no NVIDIA driver on your system.";
  const pythons = [python(info("2.9.1+cu130", { cuda: "13.0", gpuProblem }))];
  expect(idsOf(machine({ gpu: { adapters: adapter }, facts: { pythons } }))).toEqual(["nvidia-no-driver"]);
  expect(idsOf(machine({ facts: { pythons } }))).toEqual([]);
});

test("code for an older minor of the same generation runs, and so does what can be compiled on the spot", () => {
  const on = (archs: readonly string[]): readonly string[] =>
    idsOf(
      onCard({
        facts: {
          pythons: [python(info("2.9.1", { cuda: "13.0", archs, capability: "8.9" }, { device: "cuda:0", name: "X" }))],
        },
      }),
    );
  expect(on(["sm_80"])).toEqual([]);
  expect(on(["compute_75"])).toEqual([]);
  expect(on(["sm_75", "sm_90"])).toEqual(["torch-no-code"]);
  expect(on(["sm_90a", "compute_90"])).toEqual(["torch-no-code"]);
});
