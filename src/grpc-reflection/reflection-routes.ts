import type { DescFile, DescService } from "@bufbuild/protobuf";
import { Code, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { DescriptorIndex, type IndexedFile } from "./descriptor-index.ts";
import * as v1 from "./gen/grpc/reflection/v1/reflection_pb.ts";
import * as v1alpha from "./gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { untilAborted } from "./until-aborted.ts";

/** A request of either version; they differ in nothing but the names of their types. */
type Request = v1.ServerReflectionRequest | v1alpha.ServerReflectionRequest;

/** An answer in the terms of both versions. */
type Answer =
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: "allExtensionNumbersResponse"; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "errorResponse"; value: { errorCode: number; errorMessage: string } };

/**
 * Serves gRPC server reflection, `grpc.reflection.v1` and `v1alpha`, over every protocol of the router. It
 * tells of these services and of itself; the files that are given besides are for extensions, which no
 * service imports. All is worked out once, here; see {@link DescriptorIndex} for what it throws.
 *
 * An answer with files has the file that was asked for first, then all that it imports, without what was
 * sent on the same stream before. What is not known is answered with an `error_response` of code NOT_FOUND,
 * a request without a question with INVALID_ARGUMENT, and the stream goes on in both cases.
 *
 * Source: "GRPC Server Reflection Protocol" (grpc/grpc, doc/server-reflection.md) and the comments of
 * grpc/reflection/v1/reflection.proto (grpc/grpc-proto). Where they leave a choice, this does as grpc-go.
 */
export function reflectionRoutes(
  services: Iterable<DescService>,
  files: Iterable<DescFile> = [],
): (router: ConnectRouter) => void {
  const served = [...services, v1.ServerReflection, v1alpha.ServerReflection];
  const serviceNames = [...new Set(served.map((service) => service.typeName))].sort();
  const index = new DescriptorIndex([...served.map((service) => service.file), ...files]);

  function answer(question: Request["messageRequest"], sent: Set<IndexedFile>): Answer {
    switch (question.case) {
      case "fileByFilename":
        return fileAnswer(index.file(question.value), sent);
      case "fileContainingSymbol":
        return fileAnswer(index.fileOfSymbol(question.value), sent);
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = question.value;
        return fileAnswer(index.fileOfExtension(containingType, extensionNumber), sent);
      }
      case "allExtensionNumbersOfType": {
        const extensionNumber = index.extensionNumbers(question.value);
        return extensionNumber === undefined
          ? errorAnswer(Code.NotFound, "unknown type")
          : {
              case: "allExtensionNumbersResponse",
              value: { baseTypeName: question.value, extensionNumber },
            };
      }
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: serviceNames.map((name) => ({ name })) },
        };
      case undefined:
        return errorAnswer(Code.InvalidArgument, "no question is set");
    }
  }

  async function* serverReflectionInfo<R extends Request>(
    requests: AsyncIterable<R>,
    context: HandlerContext,
  ) {
    const sent = new Set<IndexedFile>();
    for await (const request of untilAborted(requests, context.signal)) {
      yield {
        validHost: request.host,
        originalRequest: request,
        messageResponse: answer(request.messageRequest, sent),
      };
    }
  }

  return (router) => {
    router.service(v1.ServerReflection, { serverReflectionInfo });
    router.service(v1alpha.ServerReflection, { serverReflectionInfo });
  };
}

function fileAnswer(file: IndexedFile | undefined, sent: Set<IndexedFile>): Answer {
  if (file === undefined) {
    return errorAnswer(Code.NotFound, "unknown file, symbol or extension");
  }
  const unsent = file.closure.filter((member) => member === file || !sent.has(member));
  for (const member of unsent) {
    sent.add(member);
  }
  return {
    case: "fileDescriptorResponse",
    value: { fileDescriptorProto: unsent.map((member) => member.bytes) },
  };
}

// The codes of Connect are the status codes of gRPC.
function errorAnswer(errorCode: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}
