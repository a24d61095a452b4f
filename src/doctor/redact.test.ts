import { expect, test } from "vitest";
import { redactText, redactValue, shortenHome } from "./redact.ts";

const eva = { home: "/home/eva", user: "eva", host: "evas-box" };

test.each([
  ["/home/eva/secret-client/venv/bin/python cannot be started", "~/…/python cannot be started"],
  ["caches in /home/eva/.cache/gesso: 5 GB", "caches in ~/.cache/gesso: 5 GB"],
  ["in /mnt/secret-client/eva/runs (full)", "in …/ (full)"],
  ['File "/home/eva/x/site-packages/torch/lib/libc10.so": no', 'File "~/…/libc10.so": no'],
  ["LD_LIBRARY_PATH=/usr/local/cuda-11.8/lib64:/data/eva/lib", "LD_LIBRARY_PATH=/usr/local/cuda-11.8/lib64:…/"],
  ["LD_LIBRARY_PATH=/usr/local/cuda/lib64:/home/eva/x/lib:/home/eva/y", "LD_LIBRARY_PATH=/usr/local/cuda/lib64:~/…/:~/…/"],
  ["no file: /srv/clients/x", "no file: …/"],
  ["eva@evas-box, evaluate", "<user>@<host>, evaluate"],
  ["https://download.pytorch.org/whl/cu130 and 3/4", "https://download.pytorch.org/whl/cu130 and 3/4"],
  ["/usr/bin/python3 and /dev/kfd", "/usr/bin/python3 and /dev/kfd"],
])("%s becomes %s", (text, shown) => {
  expect(redactText(text, eva)).toBe(shown);
});

test("Windows' folders are private too", () => {
  const words = { home: "C:\\Users\\Eva", user: "Eva", host: "DESKTOP-1" };
  expect(redactText('Error loading "C:\\Users\\Eva\\venv\\torch\\lib\\c10.dll"', words)).toBe('Error loading "~/…/c10.dll"');
  expect(redactText("D:\\Clients\\Secret\\runs", words)).toBe("…/");
});

test("a name that everybody has stays, or nothing could be read any more", () => {
  expect(redactText("the root of it", { home: "/root", user: "root", host: "localhost" })).toBe("the root of it");
});

test("every text in a value is gone over, and the owner's own eyes see all but the home folder", () => {
  expect(redactValue({ a: ["/home/eva/b.txt", 1, null], c: { d: "evas-box" } }, eva)).toEqual({
    a: ["~/…/b.txt", 1, null],
    c: { d: "<host>" },
  });
  const path = "/mnt/Secret Client/my venv/bin/python";
  expect(redactValue({ path, message: `${path} does not start` }, eva)).toEqual({
    path: "…/python",
    message: "…/python does not start",
  });
  expect(shortenHome("/home/eva/secret/x", "/home/eva")).toBe("~/secret/x");
});
