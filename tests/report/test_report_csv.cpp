#include "lib/report/report_csv.h"

#include <doctest/doctest.h>

using namespace gca;

TEST_CASE("A row for each number that is known, names quoted as RFC 4180 says") {
  report::RunResults run;
  run.name = "runs/a, \"b\"";
  run.seed = 7;
  run.train = {{1, 100, 4.5}, {2, 200, report::kUnknownNumber}};
  run.valid = {{2, 200, 4.25}};
  run.contexts = {{1024, "learned", 1.5, report::kUnknownNumber, 0.75}};
  run.positions = {{1024, "learned", 16, 32, 2.0}};
  run.recalls = {{"passkey", "none", 2048, report::kUnknownNumber, 8, 2},
                 {"passkey", "none", 2048, 0.5, 4, 3},
                 {"passkey", "none", 2048, 0.6, 0, 0}};
  const report::RunGroup group{"batch 4", {&run}};
  const std::string head = "\"runs/a, \"\"b\"\"\",batch 4,7,";
  CHECK(report::report_csv({&group, 1}) ==
        "run,settings,seed,quantity,task,retriever,context,from,to,depth,step,tokens,trials,value\n" + head +
            "train_loss,,,,,,,1,100,,4.5\n" +                     //
            head + "valid_loss,,,,,,,2,200,,4.25\n" +             //
            head + "context_loss,,learned,1024,,,,,,,1.5\n" +     //
            head + "bits_per_byte,,learned,1024,,,,,,,0.75\n" +   //
            head + "position_loss,,learned,1024,16,32,,,,,2\n" +  //
            head + "accuracy,passkey,none,2048,,,,,,8,0.25\n" +   //
            head + "accuracy,passkey,none,2048,,,0.5,,,4,0.75\n");
}
