import { type DescFile, ScalarType, toBinary } from "@bufbuild/protobuf";
import { scalarEquals } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { extensionsOfFile, symbolsOfFile } from "./declarations.ts";

/** A file, ready to be sent. */
export interface IndexedFile {
  /** The name with its extension, as in `import "acme/pets.proto"`. */
  readonly name: string;
  /** A serialized google.protobuf.FileDescriptorProto. */
  readonly bytes: Uint8Array;
  /** This file, then everything that it imports, directly or not, each once. */
  readonly closure: readonly IndexedFile[];
}

/**
 * What the questions of server reflection are answered from: the given files and all that they import, each
 * serialized once, here. Custom options are kept; they are unknown fields of the options messages.
 *
 * It throws where two different files have one name, or declare one symbol or one extension: no client could
 * make sense of them together. Only of the well-known types (`google/protobuf/`) may there be two versions,
 * and the first is served: compilers bring their own, and they are compatible.
 */
export class DescriptorIndex {
  readonly #files = new Map<string, IndexedFile>();
  readonly #symbols = new Map<string, IndexedFile>();
  readonly #extensions = new Map<string, Map<number, IndexedFile>>();

  constructor(files: Iterable<DescFile>) {
    for (const file of files) {
      this.#add(file);
    }
  }

  /** The file with this name, which ends in `.proto`. */
  file(name: string): IndexedFile | undefined {
    return this.#files.get(name);
  }

  /** The file that declares what has this full name, which has no leading dot; see {@link symbolsOfFile}. */
  fileOfSymbol(name: string): IndexedFile | undefined {
    return this.#symbols.get(name);
  }

  /** The file that declares the extension of a message with this field number. */
  fileOfExtension(extendee: string, number: number): IndexedFile | undefined {
    return this.#extensions.get(extendee)?.get(number);
  }

  /** The field numbers of all known extensions of a message, ascending; undefined for an unknown name. */
  extensionNumbers(extendee: string): number[] | undefined {
    const extensions = this.#extensions.get(extendee);
    if (extensions === undefined) {
      return this.#symbols.has(extendee) ? [] : undefined;
    }
    return [...extensions.keys()].sort((a, b) => a - b);
  }

  #add({ proto, dependencies }: DescFile): IndexedFile {
    const bytes = toBinary(FileDescriptorProtoSchema, proto);
    const known = this.#files.get(proto.name);
    if (known !== undefined) {
      const isSame = scalarEquals(ScalarType.BYTES, known.bytes, bytes);
      if (!isSame && !proto.name.startsWith("google/protobuf/")) {
        throw new Error(`two different files are named ${proto.name}`);
      }
      return known;
    }

    const imported = dependencies.flatMap((dependency) => this.#add(dependency).closure);
    const file = { name: proto.name, bytes, closure: [] as IndexedFile[] };
    file.closure.push(file, ...new Set(imported));

    this.#files.set(file.name, file);
    for (const symbol of symbolsOfFile(proto)) {
      claim(this.#symbols, symbol, file, symbol);
    }
    for (const { extendee, number } of extensionsOfFile(proto)) {
      const message = extendee.replace(/^\./, "");
      const extensions = this.#extensions.get(message) ?? new Map<number, IndexedFile>();
      this.#extensions.set(message, extensions);
      claim(extensions, number, file, `extension ${number} of ${message}`);
    }
    return file;
  }
}

function claim<Key>(claims: Map<Key, IndexedFile>, key: Key, file: IndexedFile, what: string): void {
  const holder = claims.get(key);
  if (holder !== undefined && holder !== file) {
    throw new Error(`${what} is declared in ${holder.name} and in ${file.name}`);
  }
  claims.set(key, file);
}
