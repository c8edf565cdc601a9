import { testExampleClient } from "./example-client.ts";

testExampleClient({ folder: "go", needs: "go", fetches: /^go mod download/, start: "./client" });
