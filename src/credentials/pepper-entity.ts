import { defineEntity, p } from "@mikro-orm/core";

const PepperSchema = defineEntity({
  name: "Pepper",
  tableName: "peppers",
  properties: {
    id: p.uuid().primary(),
    /** 32 random bytes, sealed under the deployment's encryption key. */
    sealedSecret: p.blob(),
    createTime: p.datetime().columnType("timestamptz").defaultRaw("now()"),
  },
});

/** The secret under which keys are hashed: whoever has the rows alone cannot test a guess. */
export class Pepper extends PepperSchema.class {}
PepperSchema.setClass(Pepper);
