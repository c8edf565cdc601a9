import { testExampleClient } from "./example-client.ts";

testExampleClient({
  folder: "python",
  needs: "python3",
  fetches: /-m venv|pip install/,
  start: ".venv/bin/python main.py",
});
