// The runner's own contract, read from its descriptors: nothing of it is generated or kept here.
import { readFileSync } from "node:fs";
import {
  createFileRegistry,
  type DescMessage,
  type DescService,
  fromBinary,
  type Message,
  type Registry,
} from "@bufbuild/protobuf";
import { type Any, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const PACKAGE = "connectrpc.conformance.v1";

export interface Contract {
  readonly registry: Registry;
  readonly service: DescService;
  message(name: string): DescMessage;
}

/** @param path of a FileDescriptorSet that `buf build` has made. */
export function readContract(path: string): Contract {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(path)));
  const found = <T>(kind: T | undefined, name: string): T => {
    if (kind === undefined) {
      throw new Error(`the runner's contract has no ${name}`);
    }
    return kind;
  };
  return {
    registry,
    service: found(registry.getService(`${PACKAGE}.ConformanceService`), "service"),
    message: (name) => found(registry.getMessage(`${PACKAGE}.${name}`), name),
  };
}

export interface Header extends Message {
  name: string;
  value: string[];
}

export interface RequestedError {
  code: number;
  message?: string;
  details: Any[];
}

/** What a call with one answer is to be answered with. */
export interface UnaryDefinition {
  responseHeaders: Header[];
  responseTrailers: Header[];
  responseDelayMs: number;
  response:
    | { case: "responseData"; value: Uint8Array }
    | { case: "error"; value: RequestedError }
    | { case: undefined };
}

/** What a call with many answers is to be answered with. */
export interface StreamDefinition {
  responseHeaders: Header[];
  responseTrailers: Header[];
  responseDelayMs: number;
  responseData: Uint8Array[];
  error?: RequestedError;
}

export interface UnaryRequest extends Message {
  responseDefinition?: UnaryDefinition;
}

export interface StreamRequest extends Message {
  responseDefinition?: StreamDefinition;
  fullDuplex?: boolean;
}

export interface ServerCompatRequest {
  httpVersion: number;
  messageReceiveLimit: number;
}
